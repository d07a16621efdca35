// Schemes that break their contract are refused by name, before anything uses what they gave.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/plugin_host/test_plugins.h"
#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

std::shared_ptr<const Rope> parse(const std::string& fault) {
  const auto host = PluginHost::create({.paths = {broken(fault)},
                                        .uses_environment = false,
                                        .install_folder = {},
                                        .logger = nullptr});
  return Rope::parse("fault_" + fault, *host, reference_geometry());
}

TEST(RopeContractTest, BrokenTablesAreRefusedWithTheSchemesName) {
  const struct {
    const char* fault;
    Code code;
    const char* reason;
  } rows[] = {
      {"nan", Code::internal, "inv_freq[3]: wanted a finite number of at least 0, found"},
      {"negative", Code::internal, "inv_freq[0]: wanted a finite number of at least 0, found -1"},
      {"count", Code::internal, "wrote 3 frequencies, wanted 4"},
      {"overrun", Code::internal, "wrote more than 4 frequencies"},
      {"gain", Code::internal, "rotation_gain: wanted a finite number greater than 0, found 0"},
      {"random", Code::internal, "asked twice, gave two different tables"},
      {"status", Code::internal, "returned 77, which is no status"},
      {"silent", Code::invalid_argument, "failed without saying why"},
      {"short_table", Code::invalid_argument, "the table has 16 bytes"},
      {"claim", Code::internal,
       "inv_freq[0]: claims to be plain RoPE at scale 1, where it is 1; found 0.5"},
      {"no_table", Code::invalid_argument, "has no table for it"}};
  for (const auto& row : rows) {
    const Error error = error_of([&] { parse(row.fault); });
    EXPECT_EQ(error.code(), row.code) << row.fault;
    EXPECT_THAT(error.message(), HasSubstr(row.reason));
    EXPECT_EQ(error.component(), "rope.fault_" + std::string(row.fault));
  }
}

TEST(RopeContractTest, DescendingPositionsAreRefused) {
  RopeGeometry training = reference_geometry();
  training.training = true;
  const auto rope = parse("positions");
  const Error error = error_of([&] { positions(*rope, training, 4); });
  EXPECT_EQ(error.code(), Code::internal);
  EXPECT_THAT(error.message(), HasSubstr("rope.fault_positions: positions[1]"));
}

TEST(RopeContractTest, MagnitudesThatWereNotFilledAreRefused) {
  const auto rope = parse("magnitude");
  const double at[] = {0, 1};
  std::vector<double> log_q;
  std::vector<double> log_k;
  const Error error =
      error_of([&] { log_magnitudes(*rope, reference_geometry(), at, log_q, log_k); });
  EXPECT_EQ(error.code(), Code::internal);
  EXPECT_THAT(error.message(), HasSubstr("rope.fault_magnitude: log_q[1]"));
}

TEST(RopeContractTest, AnExceptionThroughTheCInterfaceIsCaught) {
  const auto host = make_plugin_host();
  okapi_rope_scheme_v1 scheme{};
  scheme.struct_size = sizeof scheme;
  scheme.table = [](void*, const okapi_rope_geometry*, okapi_rope_table_v1*,
                    const okapi_error_sink*) -> int32_t { throw 42; };
  host->register_rope("throwing", "", scheme, nullptr, nullptr);
  const Error error = error_of([&] { Rope::parse("throwing", *host, reference_geometry()); });
  EXPECT_EQ(error.code(), Code::internal);
  EXPECT_EQ(error.component(), "rope.throwing");
}

// A plugin built with headers that end at `table`: what came later is absent, not garbage.
TEST(RopeContractTest, ATableOfAnOlderHeaderWorks) {
  struct Older {
    okapi_rope_scheme_v1 scheme;
  } older{};
  older.scheme.struct_size = offsetof(okapi_rope_scheme_v1, positions);
  older.scheme.flags = OKAPI_ROPE_POSITIONS_IN_TRAINING;
  older.scheme.table = [](void*, const okapi_rope_geometry*, okapi_rope_table_v1* table,
                          const okapi_error_sink*) -> int32_t {
    table->n_written = table->n_pairs;
    return OKAPI_OK;
  };
  older.scheme.positions = [](void*, const okapi_rope_geometry*, int64_t, okapi_random*, double*,
                              const okapi_error_sink*) -> int32_t { return OKAPI_INTERNAL; };
  const auto host = make_plugin_host();
  host->register_rope("older", "", older.scheme, nullptr, nullptr);
  const auto rope = Rope::parse("older", *host, reference_geometry());
  EXPECT_FALSE(rope->has_positions(true));
}

}  // namespace
}  // namespace okapi::test
