#include "runtime/model/rotary/rope_table.h"

#include <gtest/gtest.h>

#include "runtime/base/sha256.h"
#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

TEST(RopeTableTest, HashIsOfTheDoublesInOrder) {
  const RopeTable table = load_rope("yarn:scale=4");
  std::vector<double> bytes = table.inv_freq;
  bytes.push_back(table.rotation_gain);
  bytes.push_back(table.attention_temperature);
  EXPECT_EQ(table.sha256, sha256_of(bytes.data(), bytes.size() * sizeof(double)));
}

/// Slows pairs by 1 in even layers and by 2 in odd ones.
std::shared_ptr<const Rope> by_layer(const RopeGeometry& geometry) {
  const auto host = make_plugin_host();
  okapi_rope_scheme_v1 scheme{};
  scheme.struct_size = sizeof scheme;
  scheme.table = [](void*, const okapi_rope_geometry* asked, okapi_rope_table_v1* table,
                    const okapi_error_sink*) -> int32_t {
    for (int32_t i = 0; i < table->n_pairs; ++i) table->inv_freq[i] /= 1 + asked->layer % 2;
    table->n_written = table->n_pairs;
    return OKAPI_OK;
  };
  host->register_rope("alternating", "", scheme, nullptr, nullptr);
  return Rope::parse("alternating", *host, geometry);
}

TEST(RopeTablesTest, EqualTablesAreKeptOnce) {
  const RopeTables one = RopeTables::evaluate(*parse_rope("plain"), reference_geometry(), 30);
  EXPECT_EQ(one.unique.size(), 1U);
  EXPECT_EQ(one.of_layer, std::vector<int32_t>(30, 0));

  const RopeTables two =
      RopeTables::evaluate(*by_layer(reference_geometry()), reference_geometry(), 5);
  EXPECT_EQ(two.unique.size(), 2U);
  EXPECT_EQ(two.of_layer, (std::vector<int32_t>{0, 1, 0, 1, 0}));
  EXPECT_EQ(two.at(3).inv_freq[0], 0.5);
  EXPECT_NE(two.sha256(), one.sha256());
}

}  // namespace
}  // namespace okapi::test
