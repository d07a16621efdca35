#include "runtime/model/rotary/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numeric>

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

// long double carries eleven bits more than double here: an oracle for angle and function alike.
TEST(FillRotationTest, IsExactToFloat32AtAnyPosition) {
  RopeGeometry geometry = reference_geometry();
  geometry.head_dim = geometry.rotary_dim = 128;
  const RopeTable table = load_rope("yarn:scale=4", geometry);
  const std::vector<double> at = {0, 1, 5, 1000, 4095, 131071, 1048575, 1234567.25, 16777217};
  std::vector<float> cosines(at.size() * 64);
  std::vector<float> sines(cosines.size());
  fill_rotation(table, at, cosines.data(), sines.data());
  for (size_t i = 0; i < at.size(); ++i) {
    for (size_t pair = 0; pair < 64; ++pair) {
      const long double angle = static_cast<long double>(at[i]) * table.inv_freq[pair];
      const long double gain = table.rotation_gain;
      // Half an ulp of float32 near the value, and 1e-12 for sine and cosine near zero.
      const auto near = [](float found, long double wanted) {
        return std::fabs(found - wanted) <= 6.0e-8L * std::fabs(wanted) + 1e-12L;
      };
      EXPECT_TRUE(near(cosines[i * 64 + pair], gain * std::cos(angle))) << at[i] << " " << pair;
      EXPECT_TRUE(near(sines[i * 64 + pair], gain * std::sin(angle))) << at[i] << " " << pair;
    }
  }
}

TEST(FillRotationTest, PositionZeroAndStoppedPairsDoNotRotate) {
  const RopeTable table = load_rope("truncated:a=0.05,b=0.05");
  const double at[] = {0, 12345};
  float cosines[8];
  float sines[8];
  fill_rotation(table, at, cosines, sines);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(cosines[i] == 1 && sines[i] == 0);
  for (int pair : {2, 3}) EXPECT_TRUE(cosines[4 + pair] == 1 && sines[4 + pair] == 0);
}

TEST(FillRotationTest, PiecesEqualTheWhole) {
  const RopeTable table = load_rope("ntk:scale=3");
  std::vector<double> at(300);
  std::iota(at.begin(), at.end(), 0.0);
  std::vector<float> whole_cos(1200);
  std::vector<float> whole_sin(1200);
  std::vector<float> cosines(1200);
  std::vector<float> sines(1200);
  fill_rotation(table, at, whole_cos.data(), whole_sin.data());
  for (size_t begin = 0; begin < 300; begin += 7) {
    const size_t n = std::min<size_t>(7, 300 - begin);
    fill_rotation(table, std::span(at).subspan(begin, n), &cosines[begin * 4], &sines[begin * 4]);
  }
  EXPECT_EQ(cosines, whole_cos);
  EXPECT_EQ(sines, whole_sin);
}

// The specification, section 1.15: x = 0.1 .. 0.8 at position 5, halves rotated.
TEST(FillRotationTest, RotatedVectorEqualsTheSpecification) {
  const RopeTable table = load_rope("plain");
  const double at = 5;
  float c[4];
  float s[4];
  fill_rotation(table, {&at, 1}, c, s);
  const double wanted[] = {0.507828355878, -0.112138810784, 0.264639659629, 0.395995016677,
                           0.045938665265, 0.622434644855,  0.714118933058, 0.801989991688};
  for (int i = 0; i < 4; ++i) {
    const double x = 0.1 * (i + 1);
    const double y = 0.1 * (i + 5);
    EXPECT_NEAR(x * c[i] - y * s[i], wanted[i], 1e-7);
    EXPECT_NEAR(y * c[i] + x * s[i], wanted[i + 4], 1e-7);
  }
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
