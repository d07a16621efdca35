// Seeds of what a run draws: each a function of the run's seed and of what it is for, so that
// nothing depends on the order of draws and a resumed run draws the same.
#pragma once

#include <cstdint>

#include "runtime/base/random.h"

namespace okapi {

enum class Purpose : uint64_t { weights = 1, adapter, dropout, rope, positions };

/// `major` and `minor` count within the purpose: a step and a window, say.
inline uint64_t derived_seed(uint64_t seed, Purpose purpose, int64_t major = 0, int64_t minor = 0) {
  const uint64_t of_purpose = Random(seed, static_cast<uint64_t>(purpose)).next();
  const uint64_t of_major = Random(of_purpose, static_cast<uint64_t>(major)).next();
  return Random(of_major, static_cast<uint64_t>(minor)).next();
}

}  // namespace okapi
