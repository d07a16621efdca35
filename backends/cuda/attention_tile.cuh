// Tiles of keys and values in shared memory, and what a warp does with one: 16 query rows against
// some of its keys, with an online softmax (Dao et al. 2022, arXiv:2205.14135). Scores are kept in
// powers of two.
#pragma once

#include "backends/cuda/attention.h"
#include "backends/cuda/device.cuh"
#include "backends/cuda/mma.cuh"

namespace okapi::cuda {

constexpr float kLog2E = 1.44269504F;

/// Rows of shared memory are 16 bytes longer than the data, so that the eight rows of a matrix lie
/// in different banks. kD is head_dim rounded up to what the kernels are made for; what is missing
/// is filled with zeros.
template <int kD>
constexpr int kRowElements = kD + 8;

__device__ inline int keys_of_part(const AttentionParts& parts, const SequenceRow& sequence,
                                   int n_kv_heads) {
  return parts.n_keys > 0 ? parts.n_keys
                          : part_keys(sequence.n_cached + sequence.n_tokens, n_kv_heads);
}

/// Address of the keys of one token and kv head.
__device__ inline const Bf16* key_row(const AttentionInput& input, const SequenceRow& sequence,
                                      int kv_head, int key) {
  const PageLayout& layout = input.layout;
  const int page = key / layout.page_tokens;
  const int within = key - page * layout.page_tokens;
  const std::byte* const keys = input.table.pages[sequence.first_page + page] + layout.layer_offset;
  return reinterpret_cast<const Bf16*>(keys) +
         (int64_t{kv_head} * layout.page_tokens + within) * layout.head_dim;
}

/// Begins to copy the keys and values [first, first + kKeys), zeros from `end` on.
template <int kD, int kKeys, int kThreads>
__device__ inline void load_tile(const AttentionInput& input, const SequenceRow& sequence,
                                 int kv_head, int first, int end, Bf16* keys, Bf16* values) {
  constexpr int kPieces = kD / 8;
  const int d = input.layout.head_dim;
  const int64_t to_values = input.layout.half_bytes / static_cast<int64_t>(sizeof(Bf16));
  // Tiles begin at multiples of their length: then whole pages hold whole tiles, in one piece.
  const bool in_one_page = input.layout.page_tokens % kKeys == 0;
  const Bf16* const tile = key_row(input, sequence, kv_head, first);
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < kKeys * kPieces; i += kThreads) {
    const int row = i / kPieces;
    const int column = i % kPieces * 8;
    const bool is_there = first + row < end && column < d;
    const Bf16* from = tile;
    if (is_there) {
      from = in_one_page ? tile + row * d + column
                         : key_row(input, sequence, kv_head, first + row) + column;
    }
    copy_async(keys + row * kRowElements<kD> + column, from, is_there);
    copy_async(values + row * kRowElements<kD> + column, from + to_values, is_there);
  }
}

/// Rotates raw keys where they lie.
template <int kD, int kKeys, int kThreads>
__device__ inline void rotate_tile(const AttentionInput& input, const SequenceRow& sequence,
                                   int first, int end, Bf16* keys) {
  const int half = input.layout.head_dim / 2;
  for (int i = static_cast<int>(threadIdx.x); i < kKeys * half; i += kThreads) {
    const int row = i / half;
    const int pair = i - row * half;
    const int64_t position = first + row;
    if (position >= end) return;
    const float c = sequence.key_cos[position * sequence.key_cos_stride + pair];
    const float s = sequence.key_sin[position * sequence.key_sin_stride + pair];
    Bf16* const at = keys + row * kRowElements<kD> + pair;
    const float x = to_float(at[0]);
    const float y = to_float(at[half]);
    at[0] = from_float<Bf16>(x * c - y * s);
    at[half] = from_float<Bf16>(y * c + x * s);
  }
}

/// Begins to copy query rows [first, first + kRows), zeros past the last.
template <int kD, int kRows, int kThreads>
__device__ inline void load_queries(const AttentionInput& input, const SequenceRow& sequence,
                                    int kv_head, int first, Bf16* to) {
  constexpr int kPieces = kD / 8;
  const int n_rows = sequence.n_tokens * input.group;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kPieces; i += kThreads) {
    const int row = i / kPieces;
    const int column = i % kPieces * 8;
    const bool is_there = first + row < n_rows && column < input.layout.head_dim;
    const int r = is_there ? first + row : 0;
    const int token = r / input.group;
    const int head = kv_head * input.group + r % input.group;
    const Bf16* const from = static_cast<const Bf16*>(input.queries) +
                             (sequence.first_row + token) * input.query_stride +
                             int64_t{head} * input.layout.head_dim + (is_there ? column : 0);
    copy_async(to + row * kRowElements<kD> + column, from, is_there);
  }
}

/// The state of a warp's 16 rows. A lane has rows g and g + 8 (mma.cuh), and of the running sums
/// only its own columns' part.
template <int kD>
struct WarpRows {
  float out[kD / 8][4];
  float largest[2];
  float sum[2];

  __device__ void clear() {
#pragma unroll
    for (int j = 0; j < kD / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) out[j][e] = 0;
    }
    largest[0] = largest[1] = -INFINITY;
    sum[0] = sum[1] = 0;
  }
};

/// Takes kKeys keys into account, whose first has index `first_key`; rows see the keys up to
/// last_seen[0] and last_seen[1]. `queries` are the warp's 16 rows.
template <int kD, int kKeys, bool kMasked>
__device__ inline void attend(WarpRows<kD>& rows, const Bf16* queries, const Bf16* keys,
                              const Bf16* values, float scale, int first_key,
                              const int (&last_seen)[2]) {
  constexpr int kRow = kRowElements<kD>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int t = lane % 4;
  const int matrix = lane / 8;
  const int in_matrix = lane % 8;

  float scores[kKeys / 8][4];
#pragma unroll
  for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) scores[j][e] = 0;
  }
#pragma unroll
  for (int k = 0; k < kD / 16; ++k) {
    // Matrices of a: rows 0-7 and 8-15 of the first eight of k, then of the second.
    uint32_t a[4];
    load_matrices(a, queries + ((matrix % 2) * 8 + in_matrix) * kRow + k * 16 + (matrix / 2) * 8);
#pragma unroll
    for (int j = 0; j < kKeys / 16; ++j) {
      uint32_t b[4];
      load_matrices(
          b, keys + (j * 16 + (matrix / 2) * 8 + in_matrix) * kRow + k * 16 + (matrix % 2) * 8);
      mma_bf16(scores[2 * j], a[0], a[1], a[2], a[3], b[0], b[1]);
      mma_bf16(scores[2 * j + 1], a[0], a[1], a[2], a[3], b[2], b[3]);
    }
  }

  float largest[2] = {rows.largest[0], rows.largest[1]};
#pragma unroll
  for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      float score = scores[j][e] * scale;
      if constexpr (kMasked) {
        if (first_key + j * 8 + 2 * t + e % 2 > last_seen[e / 2]) score = -INFINITY;
      }
      scores[j][e] = score;
      largest[e / 2] = fmaxf(largest[e / 2], score);
    }
  }
  float base[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    largest[r] = fmaxf(largest[r], __shfl_xor_sync(0xFFFFFFFFU, largest[r], 1));
    largest[r] = fmaxf(largest[r], __shfl_xor_sync(0xFFFFFFFFU, largest[r], 2));
    // A row that has seen no key yet: any base will do, as long as it is a number.
    base[r] = largest[r] == -INFINITY ? 0.0F : largest[r];
    const float shrink = exp2f(rows.largest[r] - base[r]);
    rows.largest[r] = largest[r];
    rows.sum[r] *= shrink;
#pragma unroll
    for (int j = 0; j < kD / 8; ++j) {
      rows.out[j][2 * r] *= shrink;
      rows.out[j][2 * r + 1] *= shrink;
    }
  }
#pragma unroll
  for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      scores[j][e] = exp2f(scores[j][e] - base[e / 2]);
      rows.sum[e / 2] += scores[j][e];
    }
  }
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) {
    const uint32_t a0 = pack_bf16(scores[2 * k][0], scores[2 * k][1]);
    const uint32_t a1 = pack_bf16(scores[2 * k][2], scores[2 * k][3]);
    const uint32_t a2 = pack_bf16(scores[2 * k + 1][0], scores[2 * k + 1][1]);
    const uint32_t a3 = pack_bf16(scores[2 * k + 1][2], scores[2 * k + 1][3]);
#pragma unroll
    for (int j = 0; j < kD / 16; ++j) {
      uint32_t b[4];
      load_transposed_matrices(
          b, values + (k * 16 + (matrix % 2) * 8 + in_matrix) * kRow + j * 16 + (matrix / 2) * 8);
      mma_bf16(rows.out[2 * j], a0, a1, a2, a3, b[0], b[1]);
      mma_bf16(rows.out[2 * j + 1], a0, a1, a2, a3, b[2], b[3]);
    }
  }
}

/// Adds up what the four lanes of a row hold of its sum.
__device__ inline float sum_of_row(float part) {
  part += __shfl_xor_sync(0xFFFFFFFFU, part, 1);
  return part + __shfl_xor_sync(0xFFFFFFFFU, part, 2);
}

/// Runs `body` with the smallest head size kernels are made for that holds head_dim.
template <typename Body>
void for_head_size(int head_dim, const Body& body) {
  if (head_dim <= 16) {
    body(std::integral_constant<int, 16>());
  } else if (head_dim <= 32) {
    body(std::integral_constant<int, 32>());
  } else if (head_dim <= 64) {
    body(std::integral_constant<int, 64>());
  } else if (head_dim <= 96) {
    body(std::integral_constant<int, 96>());
  } else if (head_dim <= 128) {
    body(std::integral_constant<int, 128>());
  } else {
    body(std::integral_constant<int, 256>());
  }
}

}  // namespace okapi::cuda
