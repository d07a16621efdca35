// Rotary position encoding (Su et al. 2021, arXiv:2104.09864), and the way of keys and values into
// the cache.
#include <algorithm>

#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kv_page.h"
#include "backends/cpu/threads.h"
#include "backends/cpu/training_sequence.h"

namespace okapi::cpu {

namespace {

void rotate_heads(const Kernels& kernels, const RotaryView& rotation, int64_t row,
                  const float* from, float* to, int64_t n_heads, int64_t to_stride,
                  int64_t head_dim) {
  kernels.rotate(from, to, floats(rotation.cos) + row * rotation.cos.strides[0],
                 floats(rotation.sin) + row * rotation.sin.strides[0], n_heads, head_dim, to_stride,
                 head_dim);
}

/// Token i of a sequence: queries in place, keys and values to their place in the page.
void rotate_and_store_token(const Kernels& kernels, float* q, int64_t n_heads,
                            const KvLayout& layout, int64_t layer, const KvSequence& sequence,
                            int64_t i) {
  const int64_t d = layout.head_dim;
  const float* const k = q + n_heads * d;
  const float* const v = k + layout.n_kv_heads * d;
  if (!sequence.query_rotation.empty()) {
    rotate_heads(kernels, sequence.query_rotation, i, q, q, n_heads, d, d);
  }
  const KvRun to = kv_run(layout, sequence, layer, 0, sequence.n_cached + i);
  const int64_t head_stride = layout.page_tokens * d;
  const bool rotates_keys = !sequence.keys_are_raw && !sequence.key_rotation.empty();
  if (rotates_keys) {
    rotate_heads(kernels, sequence.key_rotation, i, k, to.keys, layout.n_kv_heads, head_stride, d);
  }
  for (int64_t head = 0; head < layout.n_kv_heads; ++head) {
    if (!rotates_keys) std::copy_n(k + head * d, d, to.keys + head * head_stride);
    std::copy_n(v + head * d, d, to.values + head * head_stride);
  }
}

}  // namespace

void CpuStream::rotate_and_store(TensorView qkv, int64_t n_heads, const KvLayout& layout,
                                 int64_t layer, std::span<const KvSequence> sequences) {
  const int64_t width = (n_heads + 2 * layout.n_kv_heads) * layout.head_dim;
  check_matrix(qkv, qkv.shape[0], width, "rotate_and_store: qkv");
  check_sequences("rotate_and_store", qkv.shape[0], n_heads, layout, layer, sequences);

  // Either many sequences of a few tokens or a few of many: threads divide the tokens of them all.
  const ThreadLimit limit(shared_->n_threads);
  auto* const first_token = scratch_.get<int64_t>(ScratchUse::row_state, sequences.size() + 1);
  first_token[0] = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    first_token[s + 1] = first_token[s] + sequences[s].n_tokens;
  }
  const int64_t n_tokens = first_token[sequences.size()];

  parallel_ranges(n_tokens, 1, n_tokens * width, [&](int64_t begin, int64_t end) {
    auto s = static_cast<size_t>(
        std::upper_bound(first_token, first_token + sequences.size(), begin) - first_token - 1);
    for (int64_t t = begin; t < end; ++t) {
      while (t >= first_token[s + 1]) ++s;
      const int64_t i = t - first_token[s];
      float* const row = floats(qkv) + (sequences[s].first_row + i) * qkv.strides[0];
      rotate_and_store_token(shared_->kernels, row, n_heads, layout, layer, sequences[s], i);
    }
  });
}

void CpuStream::rotate(TensorView qkv, const HeadLayout& heads,
                       std::span<const TrainingSequence> sequences, bool backward) {
  check_heads("rotate", heads);
  check_matrix(qkv, qkv.shape[0], heads.row_width(), "rotate: qkv");
  check_training_sequences("rotate", qkv.shape[0], heads, sequences);

  const auto turn = [&](const RotaryView& rotation, int64_t i, float* x, int64_t n_heads) {
    if (rotation.empty()) return;
    const float* const cosines = floats(rotation.cos) + i * rotation.cos.strides[0];
    const float* const sines = floats(rotation.sin) + i * rotation.sin.strides[0];
    const int64_t d = heads.head_dim;
    if (backward) {
      shared_->kernels.rotate_back(x, cosines, sines, n_heads, d);
    } else {
      shared_->kernels.rotate(x, x, cosines, sines, n_heads, d, d, d);
    }
  };
  const ThreadLimit limit(shared_->n_threads);
  const int64_t n_turned = (heads.n_heads + heads.n_kv_heads) * heads.head_dim;
  parallel_ranges(qkv.shape[0], 1, qkv.shape[0] * n_turned, [&](int64_t begin, int64_t end) {
    auto sequence = sequence_of_row(sequences, begin);
    for (int64_t row = begin; row < end; ++row) {
      while (row >= sequence->first_row + sequence->n_tokens) ++sequence;
      const int64_t i = row - sequence->first_row;
      float* const q = floats(qkv) + row * qkv.strides[0];
      turn(sequence->query_rotation, i, q, heads.n_heads);
      turn(sequence->key_rotation, i, q + heads.n_heads * heads.head_dim, heads.n_kv_heads);
    }
  });
}

}  // namespace okapi::cpu
