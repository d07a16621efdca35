// Which rope holds at which step: a text whose parameters may move as training goes on.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/training/trainer_config.h"

namespace okapi {

/// The value at `step` (from 0) of a parameter that moves or is given by steps; `otherwise` before
/// the first given one. What moves is rounded to 14 digits, so that ten steps of 0.1 are one.
double scheduled_value(const RopeScheduleConfig& schedule, int64_t step, double otherwise);

/// The rope's text at `step`: `spec` with the scheduled parameters in it. Throws invalid_argument
/// when an entry names a scheme that the rope does not have.
std::string rope_at_step(const std::string& spec, const std::vector<RopeScheduleConfig>& schedule,
                         int64_t step);

}  // namespace okapi
