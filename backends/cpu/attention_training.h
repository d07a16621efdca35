// What attention's two directions share when there is no cache.
#pragma once

#include "backends/cpu/memory.h"
#include "backends/training.h"

namespace okapi::cpu {

/// Keys and values of all rows by head, [K, T, D] each, copied out of the rows of qkv: those lie
/// far apart, often by a power of two, of which a first-level cache holds few.
struct GatheredKeys {
  float* keys;
  float* values;
};
GatheredKeys gather_keys(ConstTensorView qkv, const HeadLayout& heads, Scratch& scratch);

}  // namespace okapi::cpu
