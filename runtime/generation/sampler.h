// Chooses a token from logits: greedy, or drawn with temperature, top-k and top-p. Seeded: the same
// logits and seed give the same choices on every machine.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "runtime/base/random.h"

namespace okapi {

struct SamplerOptions {
  float temperature = 0;  ///< 0: greedy, the lowest id on a tie
  int64_t top_k = 0;      ///< 0: all
  float top_p = 1;
  uint64_t seed = 0;
};

class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);

  /// An id of `logits` [V] that is not in `forbidden`. Throws internal if no finite logit is left.
  int32_t choose(std::span<const float> logits, std::span<const int32_t> forbidden = {});

 private:
  SamplerOptions options_;
  Random random_;
  std::vector<std::pair<float, int32_t>> candidates_;  // kept, so that a token allocates nothing
  std::vector<double> weights_;
};

}  // namespace okapi
