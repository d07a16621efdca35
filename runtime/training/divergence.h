// Notices that training has left its course.
#pragma once

#include <cstdint>
#include <deque>

#include "runtime/base/json.h"
#include "runtime/training/trainer_config.h"

namespace okapi {

class DivergenceGuard {
 public:
  explicit DivergenceGuard(const DivergenceConfig& config) : config_(config) {}

  /// Adds the loss of a step. True when the mean of the last steps exceeds the lowest such mean by
  /// more than the limit.
  bool diverges(double loss);

  double mean() const;  ///< of the last steps
  double lowest() const { return lowest_; }

  Json state() const;
  void restore(const Json& state, const JsonPlace& place);

 private:
  DivergenceConfig config_;
  std::deque<double> last_;
  double lowest_ = 0;
  bool has_lowest_ = false;
};

}  // namespace okapi
