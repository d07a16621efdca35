// Chooses a token from logits: greedy, or drawn with temperature, top-k and top-p. Seeded: the same
// logits and seed give the same choices on every machine, here and on the device.
#pragma once

#include <cstdint>
#include <span>

#include "backends/sampling.h"
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

  /// The same in two steps, for who chooses elsewhere (Stream::sample): the rule of the next
  /// choice, which borrows `forbidden`, and the id that came of it.
  SampleRule next_rule(std::span<const int32_t> forbidden = {});
  static int32_t checked(int32_t id);

 private:
  SamplerOptions options_;
  Random random_;
  TokenChooser chooser_;
};

}  // namespace okapi
