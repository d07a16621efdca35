// How fast a backend attends to a prompt: the other ceiling of a prefill, beside the product's.
#pragma once

#include <cstdint>
#include <memory>

#include "backends/backend.h"

namespace okapi {

struct AttentionSize {
  int64_t n_tokens = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;  ///< divides n_heads
  int64_t head_dim = 0;    ///< even
};

/// FLOP/s of a prompt's causal attention to itself, as a layer does it beside weights of that
/// dtype: 2 n_tokens^2 n_heads head_dim operations, half of what all pairs would take. The best of
/// several, after one to warm up. On a device that has cuDNN this is cuDNN's.
double measure_attention(const std::shared_ptr<Backend>& backend, const AttentionSize& size,
                         DType weights);

}  // namespace okapi
