#include <okapi/error.h>

#include <fstream>
#include <limits>
#include <string>

#include "capi/src/error_object.h"
#include "runtime/base/error.h"
#include "tests/capi/support.h"

using namespace okapi::test;
using okapi::Code;
using okapi::Error;

static_assert(static_cast<int32_t>(Code::ok) == OKAPI_OK);
static_assert(static_cast<int32_t>(Code::cancelled) == OKAPI_CANCELLED);
static_assert(static_cast<int32_t>(Code::unknown) == OKAPI_UNKNOWN);
static_assert(static_cast<int32_t>(Code::invalid_argument) == OKAPI_INVALID_ARGUMENT);
static_assert(static_cast<int32_t>(Code::deadline_exceeded) == OKAPI_DEADLINE_EXCEEDED);
static_assert(static_cast<int32_t>(Code::not_found) == OKAPI_NOT_FOUND);
static_assert(static_cast<int32_t>(Code::already_exists) == OKAPI_ALREADY_EXISTS);
static_assert(static_cast<int32_t>(Code::permission_denied) == OKAPI_PERMISSION_DENIED);
static_assert(static_cast<int32_t>(Code::resource_exhausted) == OKAPI_RESOURCE_EXHAUSTED);
static_assert(static_cast<int32_t>(Code::failed_precondition) == OKAPI_FAILED_PRECONDITION);
static_assert(static_cast<int32_t>(Code::aborted) == OKAPI_ABORTED);
static_assert(static_cast<int32_t>(Code::out_of_range) == OKAPI_OUT_OF_RANGE);
static_assert(static_cast<int32_t>(Code::unimplemented) == OKAPI_UNIMPLEMENTED);
static_assert(static_cast<int32_t>(Code::internal) == OKAPI_INTERNAL);
static_assert(static_cast<int32_t>(Code::unavailable) == OKAPI_UNAVAILABLE);
static_assert(static_cast<int32_t>(Code::data_loss) == OKAPI_DATA_LOSS);
static_assert(static_cast<int32_t>(Code::unauthenticated) == OKAPI_UNAUTHENTICATED);

TEST(StatusNameTest, EveryCodeIsNamedAsItsConstant) {
  const char* names[] = {"OK",
                         "CANCELLED",
                         "UNKNOWN",
                         "INVALID_ARGUMENT",
                         "DEADLINE_EXCEEDED",
                         "NOT_FOUND",
                         "ALREADY_EXISTS",
                         "PERMISSION_DENIED",
                         "RESOURCE_EXHAUSTED",
                         "FAILED_PRECONDITION",
                         "ABORTED",
                         "OUT_OF_RANGE",
                         "UNIMPLEMENTED",
                         "INTERNAL",
                         "UNAVAILABLE",
                         "DATA_LOSS",
                         "UNAUTHENTICATED"};
  for (okapi_status status = 0; status < 17; ++status)
    EXPECT_STREQ(okapi_status_name(status), names[status]);
}

TEST(StatusNameTest, OtherNumbersAreUnknown) {
  EXPECT_STREQ(okapi_status_name(17), "UNKNOWN");
  EXPECT_STREQ(okapi_status_name(-1), "UNKNOWN");
  EXPECT_STREQ(okapi_status_name(std::numeric_limits<okapi_status>::max()), "UNKNOWN");
}

TEST(ErrorTest, NullIsNoError) {
  EXPECT_EQ(okapi_error_code(nullptr), OKAPI_OK);
  EXPECT_STREQ(okapi_error_message(nullptr), "");
  EXPECT_STREQ(okapi_error_component(nullptr), "");
  EXPECT_STREQ(okapi_error_field(nullptr), "");
  EXPECT_STREQ(okapi_error_file(nullptr), "");
  EXPECT_EQ(okapi_error_offset(nullptr), -1);
  EXPECT_EQ(okapi_error_cause(nullptr), nullptr);
  EXPECT_EQ(okapi_error_ref(nullptr), nullptr);
  okapi_error_unref(nullptr);
}

TEST(ErrorTest, CarriesAllThatTheEngineSaid) {
  const ErrorPtr error(okapi::capi::make_error(Error(Code::data_loss, "ends within a tensor")
                                                   .in("model")
                                                   .field("weight")
                                                   .at("a.safetensors", 12),
                                               "okapi_f"));
  EXPECT_EQ(okapi_error_code(error.get()), OKAPI_DATA_LOSS);
  EXPECT_STREQ(okapi_error_message(error.get()), "a.safetensors:12: weight: ends within a tensor");
  EXPECT_STREQ(okapi_error_component(error.get()), "model");
  EXPECT_STREQ(okapi_error_field(error.get()), "weight");
  EXPECT_STREQ(okapi_error_file(error.get()), "a.safetensors");
  EXPECT_EQ(okapi_error_offset(error.get()), 12);
  EXPECT_EQ(okapi_error_cause(error.get()), nullptr);
}

TEST(ErrorTest, FieldIsNotSaidTwice) {
  const ErrorPtr error(okapi::capi::make_error(
      Error(Code::invalid_argument, "n_heads: 3 does not divide 64").field("n_heads"), "okapi_f"));
  EXPECT_STREQ(okapi_error_message(error.get()), "n_heads: 3 does not divide 64");
}

TEST(ErrorTest, ComponentIsTheFunctionIfNoneIsNamed) {
  const ErrorPtr error(okapi::capi::make_error(Error(Code::internal, "x"), "okapi_f"));
  EXPECT_STREQ(okapi_error_component(error.get()), "okapi_f");
}

TEST(ErrorTest, CauseIsReachableAndToldInTheMessage) {
  const Error first = Error(Code::not_found, "no such file").at("b");
  const ErrorPtr error(okapi::capi::make_error(
      Error(Code::failed_precondition, "unusable").because(first), "okapi_f"));
  EXPECT_STREQ(okapi_error_message(error.get()), "unusable, because b: no such file");
  const okapi_error* cause = okapi_error_cause(error.get());
  ASSERT_NE(cause, nullptr);
  EXPECT_EQ(okapi_error_code(cause), OKAPI_NOT_FOUND);
  EXPECT_STREQ(okapi_error_file(cause), "b");
}

TEST(ErrorTest, LivesUntilTheLastReferenceGoes) {
  okapi_error* error = okapi::capi::make_error(Error(Code::aborted, "kept"), "okapi_f");
  EXPECT_EQ(okapi_error_ref(error), error);
  okapi_error_unref(error);
  EXPECT_STREQ(okapi_error_message(error), "kept");
  okapi_error_unref(error);
}

TEST(ErrorTest, TheConstantForNoMemoryOutlivesAnyNumberOfReleases) {
  okapi_error* error = okapi::capi::out_of_memory_error();
  for (int i = 0; i < 3; ++i) okapi_error_unref(error);
  EXPECT_EQ(okapi_error_ref(error), error);
  EXPECT_EQ(okapi_error_code(error), OKAPI_RESOURCE_EXHAUSTED);
  EXPECT_STRNE(okapi_error_message(error), "");
}
