// What a rope is evaluated at.
#pragma once

#include <cstdint>

namespace okapi {

struct RopeGeometry {
  int64_t head_dim = 0;
  int64_t rotary_dim = 0;  ///< rotated channels of a head; even, at most head_dim
  double base = 10000.0;
  int64_t trained_length = 0;
  int64_t target_length = 0;  ///< the declared length; 0: the trained one
  bool training = false;
  int64_t layer = 0;
  uint64_t seed = 0;  ///< of drawn positions
  int64_t n_layers = 1;

  int64_t n_pairs() const { return rotary_dim / 2; }

  bool operator==(const RopeGeometry&) const = default;
};

}  // namespace okapi
