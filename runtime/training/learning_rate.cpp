#include "runtime/training/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace okapi {

double learning_rate_factor(const ScheduleConfig& schedule, int64_t step, int64_t n_steps) {
  if (step < schedule.warmup) {
    return static_cast<double>(step + 1) / static_cast<double>(schedule.warmup);
  }
  if (schedule.kind == ScheduleKind::constant) return 1;
  const auto n_falling = static_cast<double>(std::max<int64_t>(1, n_steps - schedule.warmup));
  const double done = std::min(1.0, static_cast<double>(step - schedule.warmup) / n_falling);
  const double left = schedule.kind == ScheduleKind::linear
                          ? 1 - done
                          : 0.5 * (1 + std::cos(std::numbers::pi * done));
  return schedule.floor + (1 - schedule.floor) * left;
}

}  // namespace okapi
