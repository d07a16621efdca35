#include "runtime/results/statistics.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace okapi {
namespace {

// Worked by hand with z = 1.959964, z^2 = 3.841459.
// 12 of 24: centre 1/2 by symmetry; half = z/(1+z^2/24) sqrt(1/96 + z^2/2304) = 0.1856852.
TEST(WilsonIntervalTest, IsSymmetricAtOneHalf) {
  const Interval interval = wilson_interval(12, 24);
  EXPECT_DOUBLE_EQ(interval.value, 0.5);
  EXPECT_NEAR(interval.low, 0.3143, 5e-5);
  EXPECT_NEAR(interval.high, 0.6857, 5e-5);
}

// All right: low = (1 + z^2/2n - z^2/2n) / (1 + z^2/n) = n / (n + z^2) = 24 / 27.841459.
TEST(WilsonIntervalTest, OfAllRightHasTheClosedFormBound) {
  const Interval interval = wilson_interval(24, 24);
  EXPECT_EQ(interval.value, 1.0);
  EXPECT_NEAR(interval.low, 24.0 / 27.841459, 1e-7);
  EXPECT_EQ(interval.high, 1.0);
}

// None right is the mirror image: high = z^2 / (n + z^2) = 3.841459 / 53.841459.
TEST(WilsonIntervalTest, OfNoneRightHasTheClosedFormBound) {
  const Interval interval = wilson_interval(0, 50);
  EXPECT_EQ(interval.value, 0.0);
  EXPECT_EQ(interval.low, 0.0);
  EXPECT_NEAR(interval.high, 3.841459 / 53.841459, 1e-7);
}

// Newcombe 1998 (Statistics in Medicine 17, table I, method 3) prints 81 of 263 as 0.2553 to 0.3662
// and 15 of 148 as 0.0624 to 0.1605.
TEST(WilsonIntervalTest, EqualsPublishedFigures) {
  const Interval a = wilson_interval(81, 263);
  EXPECT_NEAR(a.low, 0.2553, 5e-5);
  EXPECT_NEAR(a.high, 0.3662, 5e-5);
  const Interval b = wilson_interval(15, 148);
  EXPECT_NEAR(b.low, 0.0624, 5e-5);
  EXPECT_NEAR(b.high, 0.1605, 5e-5);
}

TEST(WilsonIntervalTest, ContainsTheShareAndStaysWithinZeroAndOne) {
  for (int64_t n = 1; n <= 60; ++n) {
    for (int64_t k = 0; k <= n; ++k) {
      const Interval interval = wilson_interval(k, n);
      EXPECT_LE(0.0, interval.low);
      EXPECT_LE(interval.low, interval.value);
      EXPECT_LE(interval.value, interval.high);
      EXPECT_LE(interval.high, 1.0);
    }
  }
}

TEST(WilsonIntervalTest, OfNoTrialsIsNoNumber) {
  EXPECT_TRUE(std::isnan(wilson_interval(0, 0).value));
}

// 1, 2, 3, 4: mean 2.5, variance 5/3, standard error sqrt(5/12) = 0.6454972.
TEST(MeanIntervalTest, IsTwoStandardErrorsWide) {
  const Interval interval = mean_interval(std::vector<double>{1, 2, 3, 4});
  EXPECT_DOUBLE_EQ(interval.value, 2.5);
  EXPECT_NEAR(interval.high - interval.value, 1.959964 * 0.6454972, 1e-6);
  EXPECT_NEAR(interval.value - interval.low, 1.959964 * 0.6454972, 1e-6);
}

TEST(MeanIntervalTest, OfOneValueHasNoInterval) {
  const Interval interval = mean_interval(std::vector<double>{3});
  EXPECT_EQ(interval.value, 3);
  EXPECT_TRUE(std::isnan(interval.low));
}

// Values 1 and 4 with weights 3 and 1: mean 7/4; error sqrt((3*3/4)^2 + (9/4)^2) / 4 = sqrt(81/8)
// / 4.
TEST(WeightedMeanIntervalTest, WeighsValuesAndErrors) {
  const Interval interval =
      weighted_mean_interval(std::vector<double>{1, 4}, std::vector<double>{3, 1});
  EXPECT_DOUBLE_EQ(interval.value, 1.75);
  EXPECT_NEAR(interval.high - interval.value, 1.959964 * std::sqrt(81.0 / 8) / 4, 1e-6);
}

}  // namespace
}  // namespace okapi
