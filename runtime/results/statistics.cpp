#include "runtime/results/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace okapi {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kZ = 1.959963984540054;  // the normal distribution's 97.5 % quantile

}  // namespace

Interval wilson_interval(int64_t n_successes, int64_t n_trials) {
  if (n_trials <= 0) return {kNan, kNan, kNan};
  const auto n = static_cast<double>(n_trials);
  const double share = static_cast<double>(n_successes) / n;
  const double z2 = kZ * kZ;
  const double centre = (share + z2 / (2 * n)) / (1 + z2 / n);
  const double half = kZ / (1 + z2 / n) * std::sqrt(share * (1 - share) / n + z2 / (4 * n * n));

  // At the ends the formula gives exactly 0 and 1; say so without the rounding.
  const double low = n_successes == 0 ? 0.0 : std::max(0.0, centre - half);
  const double high = n_successes == n_trials ? 1.0 : std::min(1.0, centre + half);
  return {share, low, high};
}

Interval mean_interval(std::span<const double> values) {
  if (values.empty()) return {kNan, kNan, kNan};
  const auto n = static_cast<double>(values.size());
  double sum = 0;
  for (double value : values) sum += value;
  const double mean = sum / n;
  if (values.size() < 2) return {mean, kNan, kNan};

  double squares = 0;
  for (double value : values) squares += (value - mean) * (value - mean);
  const double half = kZ * std::sqrt(squares / (n - 1) / n);
  return {mean, mean - half, mean + half};
}

Interval weighted_mean_interval(std::span<const double> values, std::span<const double> weights) {
  double total = 0;
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    total += weights[i];
    sum += weights[i] * values[i];
  }
  if (total <= 0) return {kNan, kNan, kNan};
  const double mean = sum / total;
  if (values.size() < 2) return {mean, kNan, kNan};

  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double pull = weights[i] * (values[i] - mean);
    squares += pull * pull;
  }
  const double half = kZ * std::sqrt(squares) / total;
  return {mean, mean - half, mean + half};
}

}  // namespace okapi
