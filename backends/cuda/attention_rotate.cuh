// Rotation within the attention of few queries: one kernel less for every layer of a decoding step.
// Every block rotates its queries as it loads them; the block whose part of the keys takes in those
// of this call rotates them, uses them and stores them into their pages. Where a sequence has more
// rows than a block, several do so, and store the same.
#pragma once

#include "backends/cuda/attention_tile.cuh"
#include "backends/cuda/rotary.cuh"

namespace okapi::cuda {

/// In shared memory: [2 (keys, values)][kFewTokens][kD], by token of the call.
template <int kD>
constexpr int kNewElements = 2 * static_cast<int>(kFewTokens) * kD;

/// As load_queries, at once. head_dim must be a multiple of 16, rows and tables aligned to 16
/// bytes.
template <int kD, int kRows, int kThreads>
__device__ inline void load_rotated_queries(const AttentionInput& input,
                                            const SequenceRow& sequence, int kv_head, int first,
                                            Bf16* to) {
  constexpr int kPairs = kD / 2;
  const int d = input.layout.head_dim;
  const int half = d / 2;
  const int n_rows = sequence.n_tokens * input.group;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kPairs / 8; i += kThreads) {
    const int row = i / (kPairs / 8);
    const int pair = i % (kPairs / 8) * 8;
    Bf16* const out = to + row * kRowElements<kD>;
    if (first + row >= n_rows || pair >= half) {
      // A row past the last as a whole, of the others what lies past head_dim.
      const bool is_row = first + row < n_rows;
      *reinterpret_cast<uint4*>(out + (is_row ? half : 0) + pair) = {0, 0, 0, 0};
      *reinterpret_cast<uint4*>(out + kPairs + pair) = {0, 0, 0, 0};
      continue;
    }
    const int token = (first + row) / input.group;
    const int head = kv_head * input.group + (first + row) % input.group;
    const Bf16* const from = static_cast<const Bf16*>(input.queries) +
                             (sequence.first_row + token) * input.query_stride + int64_t{head} * d +
                             pair;
    Eight x = load_eight(from);
    Eight y = load_eight(from + half);
    if (sequence.query_cos != nullptr) {
      rotate_eight(x, y, sequence.query_cos + int64_t{token} * sequence.query_cos_stride + pair,
                   sequence.query_sin + int64_t{token} * sequence.query_sin_stride + pair);
    }
    store_eight(out + pair, x);
    store_eight(out + half + pair, y);
  }
}

/// Keys and values of this call that lie in [begin, end) of the sequence: to `made` and their
/// pages.
template <int kD, int kThreads>
__device__ inline void make_new_keys(const AttentionInput& input, const SequenceRow& sequence,
                                     int kv_head, int begin, int end, Bf16* made) {
  const int d = input.layout.head_dim;
  const int half = d / 2;
  const int pieces = half / 8;
  const int first = max(begin - sequence.n_cached, 0);
  const int n_made = end - sequence.n_cached - first;
  const int64_t to_values = input.layout.half_bytes / static_cast<int64_t>(sizeof(Bf16));
  const bool is_rotated = sequence.key_cos != nullptr && sequence.keys_are_raw == 0;
  for (int i = static_cast<int>(threadIdx.x); i < n_made * pieces; i += kThreads) {
    const int token = first + i / pieces;
    const int pair = i % pieces * 8;
    const int n_heads = input.layout.n_kv_heads * input.group;
    const Bf16* const key = static_cast<const Bf16*>(input.queries) +
                            (sequence.first_row + token) * input.query_stride +
                            int64_t{n_heads + kv_head} * d + pair;
    const Bf16* const value = key + int64_t{input.layout.n_kv_heads} * d;
    Eight x = load_eight(key);
    Eight y = load_eight(key + half);
    const uint4 value_x = *reinterpret_cast<const uint4*>(value);
    const uint4 value_y = *reinterpret_cast<const uint4*>(value + half);
    if (is_rotated) {
      rotate_eight(x, y, sequence.key_cos + int64_t{token} * sequence.key_cos_stride + pair,
                   sequence.key_sin + int64_t{token} * sequence.key_sin_stride + pair);
    }
    // Tables of pages are of what may be read; these keys are this call's to write.
    auto* const page =
        const_cast<Bf16*>(key_row(input, sequence, kv_head, sequence.n_cached + token)) + pair;
    Bf16* const kept = made + token * kD + pair;
    constexpr int kToValues = static_cast<int>(kFewTokens) * kD;
    for (Bf16* const to : {page, kept}) {
      store_eight(to, x);
      store_eight(to + half, y);
    }
    *reinterpret_cast<uint4*>(page + to_values) = value_x;
    *reinterpret_cast<uint4*>(page + to_values + half) = value_y;
    *reinterpret_cast<uint4*>(kept + kToValues) = value_x;
    *reinterpret_cast<uint4*>(kept + kToValues + half) = value_y;
  }
}

/// Copies those of [first, end) among the kKeys of a tile that begins at `first` to their rows.
template <int kD, int kKeys, int kThreads>
__device__ inline void place_new_keys(const AttentionInput& input, const SequenceRow& sequence,
                                      int first, int end, const Bf16* made, Bf16* keys,
                                      Bf16* values) {
  const int pieces = input.layout.head_dim / 8;
  const int begin = max(first, sequence.n_cached);
  const int n_placed = min(end, first + kKeys) - begin;
  for (int i = static_cast<int>(threadIdx.x); i < n_placed * pieces; i += kThreads) {
    const int key = begin + i / pieces;
    const int column = i % pieces * 8;
    const int to = (key - first) * kRowElements<kD> + column;
    const Bf16* const from = made + (key - sequence.n_cached) * kD + column;
    *reinterpret_cast<uint4*>(keys + to) = *reinterpret_cast<const uint4*>(from);
    *reinterpret_cast<uint4*>(values + to) =
        *reinterpret_cast<const uint4*>(from + static_cast<int>(kFewTokens) * kD);
  }
}

}  // namespace okapi::cuda
