// Intervals of measured shares and means.
#pragma once

#include <cstdint>
#include <span>

namespace okapi {

/// A value and the interval that covers the true one with 95 %. NaN where there is none.
struct Interval {
  double value;
  double low;
  double high;
};

/// Share of successes with Wilson's score interval (1927, eq. 4 of Brown, Cai and DasGupta 2001):
/// keeps its coverage near 0 and 1, where accuracies of retrieval tasks lie. NaN for no trials.
Interval wilson_interval(int64_t n_successes, int64_t n_trials);

/// Mean, plus and minus 1.96 standard errors; without an interval for fewer than two values.
Interval mean_interval(std::span<const double> values);

/// Mean with weights, its error by the linearized ratio estimator: sqrt(sum w^2 (x - mean)^2) / sum
/// w.
Interval weighted_mean_interval(std::span<const double> values, std::span<const double> weights);

}  // namespace okapi
