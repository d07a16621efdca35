#include "runtime/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

namespace okapi::test {
namespace {

// The definition, written once more: mix(key + i * step), key from seed and stream.
uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

TEST(RandomTest, DrawsFollowFromSeedStreamAndCounter) {
  constexpr uint64_t kStep = 0x9E3779B97F4A7C15U;
  const uint64_t key = mix(7 + kStep) ^ mix(mix(3 + kStep) + kStep);
  Random random(7, 3);
  for (uint64_t i = 1; i <= 5; ++i) EXPECT_EQ(random.next(), mix(key + i * kStep));
}

// Steele, Lea and Flood's generator started at 1234567 (the reference program's first outputs) is
// what mix() computes.
TEST(RandomTest, MixesAsSplitMix64Does) {
  constexpr uint64_t kStep = 0x9E3779B97F4A7C15U;
  EXPECT_EQ(mix(1234567 + kStep), 6457827717110365317U);
  EXPECT_EQ(mix(1234567 + 2 * kStep), 3203168211198807973U);
}

TEST(RandomTest, SeedsAndStreamsDiffer) {
  std::set<uint64_t> firsts;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (uint64_t stream = 0; stream < 20; ++stream) firsts.insert(Random(seed, stream).next());
  }
  EXPECT_EQ(firsts.size(), 400U);
}

TEST(RandomTest, SeekGoesOnWhereAnotherStopped) {
  Random first(1);
  for (int i = 0; i < 10; ++i) first.next();
  Random second(1);
  second.seek(first.counter());
  EXPECT_EQ(first.next(), second.next());
}

// The mean of n uniform numbers has deviation 1 / sqrt(12 n); five of them are never exceeded.
TEST(RandomTest, UniformFillsTheUnitInterval) {
  Random random(1);
  constexpr int kCount = 100000;
  double sum = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = random.uniform();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
  }
  EXPECT_NEAR(sum / kCount, 0.5, 5 / std::sqrt(12.0 * kCount));
}

TEST(RandomTest, IntegersAreInRangeAndEquallyLikely) {
  Random random(2);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) {
    const int64_t value = random.uniform_int(-3, 3);
    ASSERT_GE(value, -3);
    ASSERT_LE(value, 3);
    ++counts[static_cast<size_t>(value + 3)];
  }
  for (const int count : counts) EXPECT_NEAR(count, 10000, 5 * std::sqrt(10000 * 6.0 / 7));
  EXPECT_EQ(random.uniform_int(5, 5), 5);
}

// With a span of 3 * 2^62, plain "mod" would give the lowest quarter twice as often as the rest.
TEST(RandomTest, LargeRangesHaveNoBias) {
  Random random(3);
  const int64_t low = std::numeric_limits<int64_t>::min();
  const int64_t high = low + 3 * (int64_t{1} << 61) - 1 + 3 * (int64_t{1} << 61);
  const int64_t third = low + (int64_t{1} << 62);
  int n_lowest = 0;
  for (int i = 0; i < 30000; ++i) n_lowest += random.uniform_int(low, high) < third ? 1 : 0;
  EXPECT_NEAR(n_lowest, 10000, 5 * std::sqrt(30000 * 2.0 / 9));
  random.uniform_int(low, std::numeric_limits<int64_t>::max());
}

TEST(RandomTest, ShufflesEveryOrderEquallyOften) {
  Random random(4);
  std::array<int, 6> counts{};
  for (int i = 0; i < 60000; ++i) {
    std::array<int, 3> values{0, 1, 2};
    random.shuffle(std::span<int>(values));
    const int order = 2 * values[0] + (values[1] > values[2] ? 1 : 0);
    ++counts[static_cast<size_t>(order)];
  }
  for (const int count : counts) EXPECT_NEAR(count, 10000, 5 * std::sqrt(10000 * 5.0 / 6));
}

}  // namespace
}  // namespace okapi::test
