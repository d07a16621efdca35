// The learning rate of each step.
#pragma once

#include <cstdint>

#include "runtime/training/trainer_config.h"

namespace okapi {

/// What the learning rate is multiplied with at `step` (from 0) of `n_steps`: a linear rise that
/// reaches 1 at the last of `warmup` steps, then 1 (constant), a straight line (linear) or half a
/// cosine that would reach `floor` at step n_steps.
double learning_rate_factor(const ScheduleConfig& schedule, int64_t step, int64_t n_steps);

}  // namespace okapi
