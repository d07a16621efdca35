// How exceptions become statuses, how structs of other versions are read, how text goes out.
#include "capi/src/guard.h"

#include <cstring>
#include <filesystem>
#include <new>
#include <stdexcept>
#include <system_error>

#include "capi/src/options.h"
#include "capi/src/text_out.h"
#include "capi/src/user_data.h"
#include "tests/capi/support.h"

using namespace okapi::capi;
using namespace okapi::test;
using okapi::Code;
using okapi::Error;

namespace {

template <typename Throw>
Outcome guarded(Throw&& body) {
  return call([&](okapi_error** error) { return guard("okapi_f", error, body); });
}

okapi_status status_of_errno(std::errc reason) {
  return guarded(
             [&] { throw std::filesystem::filesystem_error("open", std::make_error_code(reason)); })
      .status;
}

}  // namespace

TEST(GuardTest, SuccessClearsTheError) {
  EXPECT_EQ(guarded([] {}).status, OKAPI_OK);
}

TEST(GuardTest, ErrorObjectIsOptional) {
  EXPECT_EQ(guard("okapi_f", nullptr, [] { throw Error(Code::aborted, "x"); }), OKAPI_ABORTED);
  EXPECT_EQ(guard("okapi_f", nullptr, [] { throw std::bad_alloc(); }), OKAPI_RESOURCE_EXHAUSTED);
}

TEST(GuardTest, EveryCodeOfTheEngineArrives) {
  for (int32_t code = 1; code < 17; ++code) {
    EXPECT_EQ(guarded([&] { throw Error(static_cast<Code>(code), "x"); }).status, code);
  }
}

TEST(GuardTest, AThrownOkIsNotToldAsSuccess) {
  EXPECT_EQ(guarded([] { throw Error(Code::ok, "x"); }).status, OKAPI_INTERNAL);
}

TEST(GuardTest, ForeignExceptionsAreTranslated) {
  EXPECT_EQ(guarded([] { throw std::bad_alloc(); }).status, OKAPI_RESOURCE_EXHAUSTED);
  EXPECT_EQ(guarded([] { throw std::bad_array_new_length(); }).status, OKAPI_RESOURCE_EXHAUSTED);
  EXPECT_EQ(guarded([] { throw std::length_error("x"); }).status, OKAPI_RESOURCE_EXHAUSTED);
  EXPECT_EQ(guarded([] { throw std::runtime_error("what it says"); }).message(), "what it says");
  EXPECT_EQ(guarded([] { throw std::logic_error("x"); }).status, OKAPI_INTERNAL);
  EXPECT_EQ(guarded([] { throw 42; }).status, OKAPI_INTERNAL);
}

TEST(GuardTest, ReasonsOfTheOperatingSystemKeepTheirMeaning) {
  EXPECT_EQ(status_of_errno(std::errc::no_such_file_or_directory), OKAPI_NOT_FOUND);
  EXPECT_EQ(status_of_errno(std::errc::permission_denied), OKAPI_PERMISSION_DENIED);
  EXPECT_EQ(status_of_errno(std::errc::read_only_file_system), OKAPI_PERMISSION_DENIED);
  EXPECT_EQ(status_of_errno(std::errc::file_exists), OKAPI_ALREADY_EXISTS);
  EXPECT_EQ(status_of_errno(std::errc::no_space_on_device), OKAPI_RESOURCE_EXHAUSTED);
  EXPECT_EQ(status_of_errno(std::errc::too_many_files_open), OKAPI_RESOURCE_EXHAUSTED);
  EXPECT_EQ(status_of_errno(std::errc::not_a_directory), OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(status_of_errno(std::errc::io_error), OKAPI_INTERNAL);
}

TEST(GuardTest, ValuesAndVoidsFallBack) {
  EXPECT_EQ(guard_value("okapi_f", 7, []() -> int { throw 1; }), 7);
  EXPECT_EQ(guard_value("okapi_f", 7, [] { return 8; }), 8);
  guard_void("okapi_f", [] { throw 1; });
}

TEST(RequireTest, NamesTheArgument) {
  int* missing = nullptr;
  expect_refusal(guarded([&] { require(missing, "tokens"); }), OKAPI_INVALID_ARGUMENT, "tokens");
  expect_refusal(guarded([&] { require_array(missing, 1, "ids"); }), OKAPI_INVALID_ARGUMENT, "ids");
  EXPECT_EQ(guarded([&] { require_array(missing, 0, "ids"); }).status, OKAPI_OK);
  int present = 0;
  expect_refusal(guarded([&] { require_array(&present, UINT64_MAX, "ids"); }),
                 OKAPI_INVALID_ARGUMENT, "ids");
}

// A struct as an older, this, and a newer version of a library would know it.
struct Options {
  uint32_t struct_size;
  int32_t first;
  int64_t second;
};
struct NewerOptions {
  Options known;
  int64_t third;
};

template <>
struct okapi::capi::FieldEnds<Options> {
  using T = Options;
  static constexpr uint32_t kEnds[] = {OKAPI_STRUCT_SIZE(T, struct_size),
                                       OKAPI_STRUCT_SIZE(T, first), OKAPI_STRUCT_SIZE(T, second)};
};

TEST(ReadStructTest, NullIsAllDefaults) {
  const Options read = read_struct<Options>(nullptr, "options", "X_INIT");
  EXPECT_EQ(read.first, 0);
  EXPECT_EQ(read.second, 0);
}

TEST(ReadStructTest, ASmallerStructHasDefaultsForTheRest) {
  const Options given = {OKAPI_STRUCT_SIZE(Options, first), 5, 99};
  const Options read = read_struct(&given, "options", "X_INIT");
  EXPECT_EQ(read.first, 5);
  EXPECT_EQ(read.second, 0) << "lies past struct_size";
}

TEST(ReadStructTest, ALargerStructIsReadIfItsNewFieldsAreZero) {
  NewerOptions given = {{sizeof(NewerOptions), 5, 6}, 0};
  EXPECT_EQ(read_struct(&given.known, "options", "X_INIT").second, 6);
  given.third = int64_t{1} << 40;
  const Outcome outcome = guarded([&] { read_struct(&given.known, "options", "X_INIT"); });
  expect_refusal(outcome, OKAPI_INVALID_ARGUMENT, "options.struct_size");
  EXPECT_THAT(outcome.message(),
              testing::HasSubstr("at byte 21"));  // 16 bytes known, bit 40 in the 6th
}

TEST(ReadStructTest, ZeroSizeNamesTheInitialiser) {
  const Options given = {};
  const Outcome outcome = guarded([&] { read_struct(&given, "options", "X_INIT"); });
  expect_refusal(outcome, OKAPI_INVALID_ARGUMENT, "options.struct_size");
  EXPECT_THAT(outcome.message(), testing::HasSubstr("X_INIT"));
}

TEST(ReadStructTest, ASizeWithinAFieldIsRefused) {
  for (const uint32_t size : {1U, 3U, 5U, 7U, 9U, 15U}) {
    const Options given = {size, 1, 1};
    expect_refusal(guarded([&] { read_struct(&given, "options", "X_INIT"); }),
                   OKAPI_INVALID_ARGUMENT, "options.struct_size");
  }
}

TEST(WriteStructTest, FillsNoMoreThanTheCallerHas) {
  Options out = {OKAPI_STRUCT_SIZE(Options, first), 1, 77};
  write_struct(Options{0, 5, 6}, &out, "info", "X_INIT");
  EXPECT_EQ(out.struct_size, OKAPI_STRUCT_SIZE(Options, first));
  EXPECT_EQ(out.first, 5);
  EXPECT_EQ(out.second, 77);
}

TEST(CheckTest, BooleansReservedBytesAndRanges) {
  EXPECT_EQ(guarded([] { check_boolean(1, "flag"); }).status, OKAPI_OK);
  expect_refusal(guarded([] { check_boolean(2, "flag"); }), OKAPI_INVALID_ARGUMENT, "flag");
  const uint8_t zero[3] = {0, 0, 0};
  const uint8_t other[3] = {0, 0, 1};
  EXPECT_EQ(guarded([&] { check_reserved(zero, "reserved"); }).status, OKAPI_OK);
  expect_refusal(guarded([&] { check_reserved(other, "reserved"); }), OKAPI_INVALID_ARGUMENT,
                 "reserved");
  EXPECT_EQ(guarded([] { check_range(3, 3, 3, "n"); }).status, OKAPI_OK);
  expect_refusal(guarded([] { check_range(2, 3, 4, "n"); }), OKAPI_INVALID_ARGUMENT, "n");
  expect_refusal(guarded([] { check_range(5, 3, 4, "n"); }), OKAPI_INVALID_ARGUMENT, "n");
}

TEST(CopyTextTest, AsksFillsAndRefuses) {
  char buffer[8];
  size_t needed = 0;
  copy_text("okapi", nullptr, 0, &needed);
  EXPECT_EQ(needed, 6U);
  copy_text("okapi", buffer, 6, nullptr);
  EXPECT_STREQ(buffer, "okapi");
  expect_refusal(guarded([&] { copy_text("okapi", buffer, 5, &needed); }), OKAPI_OUT_OF_RANGE,
                 "buffer");
  EXPECT_STREQ(buffer, "okap");
  EXPECT_EQ(needed, 6U);
  expect_refusal(guarded([&] { copy_text("okapi", nullptr, 5, &needed); }), OKAPI_INVALID_ARGUMENT,
                 "buffer");
  expect_refusal(guarded([&] { copy_text("", buffer, 0, &needed); }), OKAPI_OUT_OF_RANGE, "buffer");
}

TEST(CopyTextTest, NeverCutsACharacter) {
  char buffer[8];
  // "aé€": 1, 2 and 3 bytes. With room for n bytes and a NUL:
  const std::string text = "a\xC3\xA9\xE2\x82\xAC";
  const char* cut[] = {"", "a", "a", "a\xC3\xA9", "a\xC3\xA9", "a\xC3\xA9"};
  for (size_t n = 0; n < 6; ++n) {
    EXPECT_EQ(guarded([&] { copy_text(text, buffer, n + 1, nullptr); }).status, OKAPI_OUT_OF_RANGE);
    EXPECT_STREQ(buffer, cut[n]) << n;
  }
}

TEST(CopyJsonTest, BrokenTextIsReplacedNotThrown) {
  const std::string text =
      text_of([](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return guard("okapi_f", error, [&] {
          copy_json(okapi::Json{{"output", "half \xC3"}}, buffer, capacity, needed);
        });
      });
  EXPECT_EQ(text, "{\"output\":\"half \xEF\xBF\xBD\"}");
}

TEST(CopyArrayTest, WritesWhatFits) {
  const std::vector<int32_t> all = {1, 2, 3};
  const std::span<const int32_t> ids = all;
  int32_t out[3] = {0, 0, 0};
  size_t count = 0;
  copy_array(ids, "ids", static_cast<int32_t*>(nullptr), 0, &count);
  EXPECT_EQ(count, 3U);
  expect_refusal(guarded([&] { copy_array(ids, "ids", out, 2, &count); }), OKAPI_OUT_OF_RANGE,
                 "ids");
  EXPECT_THAT(out, testing::ElementsAre(1, 2, 0));
  copy_array(ids, "ids", out, 3, nullptr);
  EXPECT_THAT(out, testing::ElementsAre(1, 2, 3));
}

TEST(ParseParametersTest, NothingIsAnEmptyObject) {
  EXPECT_EQ(parse_parameters(nullptr, "parameters"), okapi::Json::object());
  EXPECT_EQ(parse_parameters("", "parameters"), okapi::Json::object());
  EXPECT_EQ(parse_parameters("{\"a\": 1}", "parameters")["a"], 1);
}

TEST(ParseParametersTest, AnythingElseIsRefused) {
  for (const char* text : {"[1]", "3", "{", R"({"a": 1, "a": 2})"}) {
    expect_refusal(guarded([&] { parse_parameters(text, "parameters"); }), OKAPI_INVALID_ARGUMENT,
                   "parameters");
  }
}

TEST(UserDataTest, DestroyedOnceAndOnlyIfTaken) {
  int n_destroyed = 0;
  const auto destroy = [](void* data) { ++*static_cast<int*>(data); };
  { UserData kept(&n_destroyed, destroy); }
  EXPECT_EQ(n_destroyed, 0);
  {
    const auto taken = std::make_shared<UserData>(&n_destroyed, destroy);
    const auto copy = taken;
    taken->take();
  }
  EXPECT_EQ(n_destroyed, 1);
  UserData without(&n_destroyed, nullptr);
  without.take();
}
