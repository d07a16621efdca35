// The schemes against what others compute: the specification's tables, HF transformers, the Giraffe
// authors' class. See tests/data/rope.

#include <cmath>

#include <gtest/gtest.h>

#include "runtime/base/json.h"
#include "runtime/model/rotary/rotation_factors.h"
#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

// The tables print fifteen digits, or twelve decimals.
constexpr double kRelative = 5e-15;
constexpr double kDecimals = 1e-12;

// Both other programs compute in float32: a few roundings, more where pow is raised to a power.
constexpr double kFloat32 = 2e-6;

Json data(const char* file) {
  return parse_json_file(std::filesystem::path(OKAPI_TEST_DATA) / "rope" / file, "test");
}

TEST(RopeReferenceTest, FrequenciesEqualTheSpecification) {
  const Json rows = data("reference.json")["inv_freq"];
  ASSERT_GE(rows.size(), 8U);
  for (const Json& row : rows) {
    const RopeTable table = load_rope(row["spec"]);
    for (size_t pair = 0; pair < table.inv_freq.size(); ++pair) {
      const double wanted = row["inv_freq"][pair];
      EXPECT_NEAR(table.inv_freq[pair], wanted, 1e-12) << row["spec"] << " pair " << pair;
      EXPECT_NEAR(table.inv_freq[pair], wanted, kRelative * wanted)
          << row["spec"] << " pair " << pair;
    }
  }
}

TEST(RopeReferenceTest, RotationsEqualTheSpecification) {
  const Json rows = data("reference.json")["rotation"];
  ASSERT_GE(rows.size(), 8U);
  for (const Json& row : rows) {
    RopeTable table = load_rope(row["spec"]);
    table.rotation_gain = 1;
    const double position = row["position"];
    float cosines[4];
    float sines[4];
    fill_rotation(table, {&position, 1}, cosines, sines);
    for (size_t pair = 0; pair < 4; ++pair) {
      const double angle = position * table.inv_freq[pair];
      EXPECT_NEAR(std::cos(angle), row["cos"][pair].get<double>(), kDecimals) << row["spec"];
      EXPECT_NEAR(std::sin(angle), row["sin"][pair].get<double>(), kDecimals) << row["spec"];
      EXPECT_NEAR(cosines[pair], row["cos"][pair].get<double>(), 6e-8) << row["spec"];
      EXPECT_NEAR(sines[pair], row["sin"][pair].get<double>(), 6e-8) << row["spec"];
    }
  }
}

TEST(RopeReferenceTest, GainsEqualTheSpecification) {
  EXPECT_NEAR(load_rope("yarn:scale=4").rotation_gain, 1.13862943611199, 1e-14);
  EXPECT_NEAR(load_rope("longrope:scale=4,short=1;1;1;1,long=1;1.5;3;4").rotation_gain,
              1.08711461300922, 1e-14);
}

TEST(RopeReferenceTest, TablesEqualTransformers) {
  const Json rows = data("golden.json")["transformers"];
  ASSERT_GE(rows.size(), 8U);
  for (const Json& row : rows) {
    RopeGeometry geometry;
    geometry.head_dim = geometry.rotary_dim = row["head_dim"];
    geometry.trained_length = row["trained_length"];
    geometry.target_length = row["target_length"];
    const RopeTable table = load_rope(row["spec"], geometry);
    EXPECT_NEAR(table.rotation_gain, row["rotation_gain"].get<double>(), kFloat32) << row["spec"];
    for (size_t pair = 0; pair < table.inv_freq.size(); ++pair) {
      const double wanted = row["inv_freq"][pair];
      EXPECT_NEAR(table.inv_freq[pair], wanted, kFloat32 * wanted)
          << row["spec"] << " pair " << pair;
    }
  }
}

TEST(RopeReferenceTest, TablesEqualTheGiraffeAuthors) {
  const Json rows = data("golden.json")["giraffe"];
  ASSERT_GE(rows.size(), 8U);
  for (const Json& row : rows) {
    RopeGeometry geometry = reference_geometry();
    geometry.head_dim = geometry.rotary_dim = row["head_dim"];
    const RopeTable table = load_rope(row["spec"], geometry);
    ASSERT_EQ(table.inv_freq.size(), row["inv_freq"].size());
    for (size_t pair = 0; pair < table.inv_freq.size(); ++pair) {
      const double wanted = row["inv_freq"][pair];
      EXPECT_NEAR(table.inv_freq[pair], wanted, kFloat32 * wanted)
          << row["spec"] << " pair " << pair;
    }
  }
}

// Specification, section 1.4: pairs kept, at the slow rate, and stopped, at head_dim 128.
TEST(RopeReferenceTest, TruncationKeepsSlowsAndStopsAsManyAsTheSpecification) {
  struct Row {
    const char* spec;
    int kept, slow, stopped;
  };
  const Row rows[] = {{"truncated:length=1024", 36, 14, 14},
                      {"truncated:length=2048", 41, 14, 9},
                      {"truncated:length=4096", 46, 14, 4},
                      {"truncated:length=8192", 50, 14, 0},
                      {"truncated:length=16384", 55, 9, 0},
                      {"linear:scale=4 | truncated:length=1024", 26, 15, 23},
                      {"linear:scale=4 | truncated:length=2048", 31, 15, 18},
                      {"linear:scale=4 | truncated:length=4096", 36, 14, 14}};
  RopeGeometry geometry = reference_geometry();
  geometry.head_dim = geometry.rotary_dim = 128;
  for (const Row& row : rows) {
    const std::string spec = row.spec;
    const std::vector<double> before =
        load_rope(spec.substr(0, 6) == "linear" ? "linear:scale=4" : "plain", geometry).inv_freq;
    const std::vector<double> after = load_rope(spec, geometry).inv_freq;
    int kept = 0;
    int stopped = 0;
    for (size_t pair = 0; pair < after.size(); ++pair) {
      if (after[pair] == 0) {
        ++stopped;
      } else if (after[pair] == before[pair]) {
        ++kept;
      }
    }
    EXPECT_EQ(kept, row.kept) << spec;
    EXPECT_EQ(stopped, row.stopped) << spec;
    EXPECT_EQ(64 - kept - stopped, row.slow) << spec;
  }
}

}  // namespace
}  // namespace okapi::test
