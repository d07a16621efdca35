// The numbers that the loops of AdamW and dropout use, made once for a call and the same on every
// backend.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "backends/training.h"

namespace okapi {

struct AdamWFactors {
  float gradient_scale;
  float keep1, add1;  ///< of the first moment: beta1, 1 - beta1
  float keep2, add2;
  float decay;         ///< 1 - learning_rate * weight_decay
  float step_size;     ///< learning_rate / (1 - beta1^step)
  float second_scale;  ///< 1 / sqrt(1 - beta2^step)
  float epsilon;
};

inline AdamWFactors make_adamw_factors(const AdamWStep& step) {
  if (step.step < 1) {
    throw BackendError("adamw: the first step is 1, found " + std::to_string(step.step));
  }
  if (!(step.beta1 >= 0 && step.beta1 < 1 && step.beta2 >= 0 && step.beta2 < 1)) {
    throw BackendError("adamw: wanted betas from 0 to below 1, found " +
                       std::to_string(step.beta1) + " and " + std::to_string(step.beta2));
  }
  const auto n = static_cast<double>(step.step);
  const auto beta1 = static_cast<double>(step.beta1);
  const auto beta2 = static_cast<double>(step.beta2);
  const auto rate = static_cast<double>(step.learning_rate);
  AdamWFactors factors;
  factors.gradient_scale = step.gradient_scale;
  factors.keep1 = step.beta1;
  factors.add1 = static_cast<float>(1.0 - beta1);
  factors.keep2 = step.beta2;
  factors.add2 = static_cast<float>(1.0 - beta2);
  factors.decay = static_cast<float>(1.0 - rate * static_cast<double>(step.weight_decay));
  factors.step_size = static_cast<float>(rate / (1.0 - std::pow(beta1, n)));
  factors.second_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, n)));
  factors.epsilon = step.epsilon;
  return factors;
}

/// Which elements dropout keeps, and what it multiplies them by. With i the element's index, in
/// words of 32 bits: hash = mix(mix(low(i) ^ key_low) + 0x9E3779B9 high(i) + key_high), where mix
/// is the bijection with full avalanche of Wellons 2018 ("hash prospector"):
/// x = (x ^ x >> 16) 0x7FEB352D; x = (x ^ x >> 15) 0x846CA68B; x ^ x >> 16.
struct DropoutMask {
  uint32_t key_low;
  uint32_t key_high;
  uint32_t first_kept;  ///< an element whose hash is below is dropped
  float scale;
};

inline DropoutMask make_dropout_mask(uint64_t seed, float probability) {
  if (!(probability >= 0.0F && probability < 1.0F)) {
    throw BackendError("dropout: wanted a probability from 0 to below 1, found " +
                       std::to_string(probability));
  }
  // The finaliser of SplitMix64 (Steele, Lea and Flood 2014): neighbouring seeds become unrelated
  // keys.
  uint64_t key = seed + 0x9E3779B97F4A7C15U;
  key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9U;
  key = (key ^ (key >> 27)) * 0x94D049BB133111EBU;
  key ^= key >> 31;
  const double first_kept = std::nearbyint(static_cast<double>(probability) * 0x1p32);
  return {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32),
          static_cast<uint32_t>(std::min(first_kept, 0x1p32 - 1)), 1.0F / (1.0F - probability)};
}

}  // namespace okapi
