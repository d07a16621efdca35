// The models whose shapes the benchmarks take.
#pragma once

#include "backends/bench/forward.h"

namespace okapi::bench {

struct NamedShape {
  const char* name;
  Shape shape;
  int64_t training_length;  ///< tokens of a sequence
};

constexpr NamedShape kShapes[] = {
    // layers, d_model, heads, kv heads, head_dim, d_ff, vocabulary
    {"smollm2-135m", {30, 576, 9, 3, 64, 1536, 49152}, 1024},
    {"savanna-5m", {6, 256, 4, 4, 64, 704, 1024}, 512},
};

}  // namespace okapi::bench
