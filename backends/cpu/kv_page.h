// Where a key or value lies in the pages of a sequence.
#pragma once

#include <string>

#include "backends/backend.h"

namespace okapi::cpu {

/// The keys and the values of one layer and one kv head from token `index` on, and how many tokens
/// lie there in one run.
struct KvRun {
  float* keys;
  float* values;
  int64_t n_tokens;
};

inline KvRun kv_run(const KvLayout& layout, const KvSequence& sequence, int64_t layer,
                    int64_t kv_head, int64_t index) {
  const int64_t within = index % layout.page_tokens;
  auto* const page = static_cast<std::byte*>(sequence.pages[index / layout.page_tokens]);
  auto* const keys =
      reinterpret_cast<float*>(page + static_cast<size_t>(layer) * layout.layer_bytes()) +
      (kv_head * layout.page_tokens + within) * layout.head_dim;
  return {keys, keys + layout.half_bytes() / sizeof(float), layout.page_tokens - within};
}

/// Shapes, page counts and rotation tables; `what` names the operation.
void check_sequences(const char* what, int64_t n_rows, int64_t n_heads, const KvLayout& layout,
                     int64_t layer, std::span<const KvSequence> sequences);

}  // namespace okapi::cpu
