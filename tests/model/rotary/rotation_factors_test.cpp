#include "runtime/model/rotary/rotation_factors.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <gtest/gtest.h>

#include "runtime/base/random.h"
#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

struct Rows {
  std::vector<float> cos;
  std::vector<float> sin;

  bool operator==(const Rows&) const = default;
};

Rows rows_of(RotationFactors& factors, size_t n_pairs, std::span<const double> positions) {
  Rows rows{std::vector<float>(positions.size() * n_pairs),
            std::vector<float>(positions.size() * n_pairs)};
  factors.fill(positions, rows.cos.data(), rows.sin.data());
  return rows;
}

Rows rows_of(const RopeTable& table, std::span<const double> positions) {
  RotationFactors factors(table);
  return rows_of(factors, table.inv_freq.size(), positions);
}

/// Fast and slow pairs, one that stands still, and a gain that is no power of two.
RopeTable wide_table() {
  RopeTable table;
  for (int pair = 0; pair < 62; ++pair) {
    table.inv_freq.push_back(std::pow(500000.0, -pair / 62.0));
  }
  table.inv_freq.push_back(1e-12);
  table.inv_freq.push_back(0);
  table.rotation_gain = 1.13862943611199;
  return table;
}

std::vector<double> counted(size_t n) {
  std::vector<double> positions(n);
  std::iota(positions.begin(), positions.end(), 0.0);
  return positions;
}

/// Counted, at and beside powers of two up to where doubles end telling whole numbers apart, drawn
/// up to 2^24, and all that moved by a fraction and turned back.
std::vector<double> positions_of_all_kinds() {
  std::vector<double> positions = counted(300);
  for (double power = 512; power <= 0x1p53; power *= 2) {
    for (const double offset : {-1.0, 0.0, 1.0}) positions.push_back(power + offset);
  }
  Random random(7);
  for (int i = 0; i < 1000; ++i) {
    positions.push_back(static_cast<double>(random.uniform_int(0, 1 << 24)));
  }
  const size_t n_whole = positions.size();
  for (size_t i = 0; i < n_whole; ++i) positions.push_back(positions[i] + 0.3125);
  const size_t n_forward = positions.size();
  for (size_t i = 0; i < n_forward; ++i) positions.push_back(-positions[i]);
  return positions;
}

/// Independent of any reduction here: a product of two doubles is the sum of two doubles to the
/// bit, the C library reduces each exactly, and long double carries eleven bits more.
std::pair<long double, long double> true_cos_sin(double position, double inv_freq) {
  const double angle = position * inv_freq;
  const long double most = angle;
  const long double rest = std::fma(position, inv_freq, -angle);
  return {std::cos(most) * std::cos(rest) - std::sin(most) * std::sin(rest),
          std::sin(most) * std::cos(rest) + std::cos(most) * std::sin(rest)};
}

// Half an ulp of float32, the error that rotation_factors.cpp reckons up and a gain's two
// roundings.
TEST(RotationFactorsTest, IsOneRoundingFromTheTruth) {
  const RopeTable table = wide_table();
  const std::vector<double> at = positions_of_all_kinds();
  const Rows rows = rows_of(table, at);
  const auto near = [&](float found, long double factor) {
    const long double wanted = table.rotation_gain * factor;
    const long double half_ulp = wanted == 0
                                     ? 0.0L
                                     : std::ldexp(1.0L, std::max(std::ilogb(wanted), -126) -
                                                            std::numeric_limits<float>::digits);
    return std::fabs(found - wanted) <= half_ulp + table.rotation_gain * 1.7e-15L;
  };
  size_t i = 0;
  for (const double position : at) {
    for (const double inv_freq : table.inv_freq) {
      const auto [cos, sin] = true_cos_sin(position, inv_freq);
      ASSERT_TRUE(near(rows.cos[i], cos)) << position << " times " << inv_freq;
      ASSERT_TRUE(near(rows.sin[i], sin)) << position << " times " << inv_freq;
      ++i;
    }
  }
}

TEST(RotationFactorsTest, ARowDependsOnItsPositionAlone) {
  const RopeTable table = wide_table();
  const size_t n_pairs = table.inv_freq.size();
  std::vector<double> at = positions_of_all_kinds();
  Random random(8);
  random.shuffle(std::span(at));
  const Rows together = rows_of(table, at);
  Rows alone;
  for (const double& position : at) {
    const Rows row = rows_of(table, {&position, 1});
    alone.cos.insert(alone.cos.end(), row.cos.begin(), row.cos.end());
    alone.sin.insert(alone.sin.end(), row.sin.begin(), row.sin.end());
  }
  EXPECT_TRUE(together == alone);

  const std::vector<double> all = counted(1000);
  const Rows whole = rows_of(table, all);
  for (const size_t begin : {1, 63, 64, 65, 500}) {
    const Rows later = rows_of(table, std::span(all).subspan(begin));
    EXPECT_TRUE(std::equal(later.cos.begin(), later.cos.end(), &whole.cos[begin * n_pairs]));
    EXPECT_TRUE(std::equal(later.sin.begin(), later.sin.end(), &whole.sin[begin * n_pairs]));
  }
}

TEST(RotationFactorsTest, NegativePositionsTurnBack) {
  const RopeTable table = wide_table();
  for (const double position : {1.0, 77.0, 64.0, 123457.0, 0.75, 1234.5}) {
    const double back = -position;
    const Rows there = rows_of(table, {&position, 1});
    Rows mirrored = rows_of(table, {&back, 1});
    for (float& sin : mirrored.sin) sin = -sin;
    EXPECT_TRUE(mirrored == there) << position;
  }
}

TEST(RotationFactorsTest, AStoppedPairIsTheGain) {
  const RopeTable table = wide_table();
  const std::vector<double> at = positions_of_all_kinds();
  const Rows rows = rows_of(table, at);
  for (size_t last = table.inv_freq.size() - 1; last < rows.cos.size();
       last += table.inv_freq.size()) {
    ASSERT_EQ(rows.cos[last], static_cast<float>(table.rotation_gain));
    ASSERT_EQ(rows.sin[last], 0.0F);
  }
}

TEST(RotationFactorsTest, PositionZeroAndStoppedPairsDoNotRotate) {
  const RopeTable table = load_rope("truncated:a=0.05,b=0.05");
  const double at[] = {0, 12345};
  float cosines[8];
  float sines[8];
  fill_rotation(table, at, cosines, sines);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(cosines[i] == 1 && sines[i] == 0);
  for (int pair : {2, 3}) EXPECT_TRUE(cosines[4 + pair] == 1 && sines[4 + pair] == 0);
}

// The specification, section 1.15: x = 0.1 .. 0.8 at position 5, halves rotated.
TEST(RotationFactorsTest, RotatedVectorEqualsTheSpecification) {
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

}  // namespace
}  // namespace okapi::test
