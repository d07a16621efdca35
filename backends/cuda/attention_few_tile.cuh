// What attention of few queries does with a tile: how it comes, and what a warp makes of its keys.
// Keys take the place of the rows of the tensor cores' products, so that 8 query rows fill them.
#pragma once

#include <cfloat>

#include "backends/cuda/attention_tile.cuh"

namespace okapi::cuda {

/// The tiles of a part, one after the other, into a ring of stages of keys and values. Keys from
/// `end_copied` on are zeros, tiles end at `end`.
template <int kD, int kKeys, int kStages, int kThreads>
class TileReader {
 public:
  static constexpr int kTileElements = kKeys * kRowElements<kD>;

  __device__ TileReader(const AttentionInput& input, const SequenceRow& sequence, int kv_head,
                        int begin, int end_copied, int end, Bf16* tiles)
      : input_(input),
        sequence_(sequence),
        kv_head_(kv_head),
        key_(begin),
        end_copied_(end_copied),
        end_(end),
        tiles_(tiles) {
    const PageLayout& layout = input.layout;
    is_plain_ = layout.head_dim == kD && layout.page_tokens % kKeys == 0;
    if (!is_plain_) return;
    const int page = begin / layout.page_tokens;
    within_ = begin - page * layout.page_tokens;
    page_ = input.table.pages + sequence.first_page + page;
    keys_of_page_ = *page_;
    offset_ = layout.layer_offset + (int64_t{kv_head} * layout.page_tokens * kD +
                                     int64_t{first_row()} * kD + first_column()) *
                                        static_cast<int64_t>(sizeof(Bf16));
  }

  /// Begins to copy the next tile as a group of its own, which is empty after the last, so that the
  /// count of what is still out is right.
  __device__ void copy_next() {
    if (key_ < end_) {
      Bf16* const to = tiles_ + stage_ * 2 * kTileElements;
      if (is_plain_ && key_ + kKeys <= end_copied_) {
        copy_whole(to);
      } else {
        load_tile<kD, kKeys, kThreads>(input_, sequence_, kv_head_, key_, end_copied_, to,
                                       to + kTileElements);
      }
      advance();
    }
    commit_copies();
  }

 private:
  static constexpr int kPieces = kD / 8;
  /// Of those that copy a row: a power of two, 3 pieces each where kD is 96.
  static constexpr int kLanes = kPieces & -kPieces;
  static constexpr int kRowsAtOnce = kThreads / kLanes;
  static_assert(kKeys % kRowsAtOnce == 0);

  __device__ static int first_row() { return static_cast<int>(threadIdx.x) / kLanes; }
  __device__ static int first_column() { return static_cast<int>(threadIdx.x) % kLanes * 8; }

  __device__ void copy_whole(Bf16* to) const {
    const auto* const keys = reinterpret_cast<const Bf16*>(keys_of_page_ + offset_) + within_ * kD;
    const Bf16* const values = keys + input_.layout.half_bytes / static_cast<int64_t>(sizeof(Bf16));
    to += first_row() * kRowElements<kD> + first_column();
#pragma unroll
    for (int row = 0; row < kKeys; row += kRowsAtOnce) {
#pragma unroll
      for (int column = 0; column < kD; column += kLanes * 8) {
        const int at = row * kRowElements<kD> + column;
        copy_async(to + at, keys + row * kD + column, true);
        copy_async(to + at + kTileElements, values + row * kD + column, true);
      }
    }
  }

  /// The address of the next page is asked for as soon as the page before is done with.
  __device__ void advance() {
    key_ += kKeys;
    stage_ = stage_ + 1 == kStages ? 0 : stage_ + 1;
    within_ += kKeys;
    if (is_plain_ && within_ == input_.layout.page_tokens && key_ < end_copied_) {
      within_ = 0;
      keys_of_page_ = *++page_;
    }
  }

  const AttentionInput& input_;
  const SequenceRow& sequence_;
  int kv_head_;
  int key_;
  int end_copied_;
  int end_;
  Bf16* tiles_;
  int stage_ = 0;
  bool is_plain_;
  int within_ = 0;  ///< the page
  const std::byte* const* page_ = nullptr;
  const std::byte* keys_of_page_ = nullptr;
  int64_t offset_ = 0;  ///< of what this thread copies first, in bytes
};

/// The state of a warp for eight query rows. A lane has rows 2t and 2t + 1, and of each the columns
/// g and g + 8 of every 16 (mma.cuh); of sums only its own keys' part.
template <int kD>
struct EightRows {
  /// Scores are powers of two above the base, which follows the largest score, but not at once.
  static constexpr float kMostAbove = 8;

  float out[kD / 16][4];
  float base[2];
  float sum[2];

  __device__ void clear() {
#pragma unroll
    for (int j = 0; j < kD / 16; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) out[j][e] = 0;
    }
    base[0] = base[1] = -FLT_MAX;
    sum[0] = sum[1] = 0;
  }

  /// The weights of 16 keys, of whose scores a lane has those of keys g and g + 8, as an operand.
  __device__ void weigh(const float (&scores)[4], uint32_t (&weights)[2]) {
    bool is_high = false;
#pragma unroll
    for (int e = 0; e < 4; ++e) is_high = is_high || scores[e] - base[e % 2] > kMostAbove;
    if (__any_sync(0xFFFFFFFFU, is_high)) raise_base(scores);
    float weight[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      weight[e] = fast_exp2(scores[e] - base[e % 2]);
      sum[e % 2] += weight[e];
    }
    weights[0] = transposed_matrix(pack_bf16(weight[0], weight[1]));
    weights[1] = transposed_matrix(pack_bf16(weight[2], weight[3]));
  }

  /// Lanes of the same rows have one base.
  __device__ void raise_base(const float (&scores)[4]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float largest = fmaxf(scores[r], scores[r + 2]);
#pragma unroll
      for (int step = 4; step < kWarp; step *= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFU, largest, step));
      }
      largest = fmaxf(largest, base[r]);
      const float shrink = fast_exp2(base[r] - largest);
      base[r] = largest;
      sum[r] *= shrink;
#pragma unroll
      for (int j = 0; j < kD / 16; ++j) {
        out[j][r] *= shrink;
        out[j][r + 2] *= shrink;
      }
    }
  }

  /// Every lane gets the sums of its rows.
  __device__ void add_up_sums() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
#pragma unroll
      for (int step = 4; step < kWarp; step *= 2) {
        sum[r] += __shfl_xor_sync(0xFFFFFFFFU, sum[r], step);
      }
    }
  }
};

/// Query rows as the other operand, eight at a time.
template <int kD, int kEights>
struct QueryMatrices {
  uint32_t of[kEights][kD / 16][2];

  __device__ void load(const Bf16* queries) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const Bf16* const own = queries + lane % 8 * kRowElements<kD> + lane / 8 % 2 * 8;
#pragma unroll
    for (int i = 0; i < kEights; ++i) {
#pragma unroll
      for (int k = 0; k < kD / 16; ++k) {
        load_two_matrices(of[i][k], own + i * 8 * kRowElements<kD> + k * 16);
      }
    }
  }
};

/// Takes 16 keys into account. `last_seen(row)` is the last key that a row sees, asked for only
/// where `is_masked`: elsewhere all rows see all of these keys.
template <int kD, int kEights, typename LastSeen>
__device__ inline void attend_to_16_keys(EightRows<kD> (&rows)[kEights],
                                         const QueryMatrices<kD, kEights>& queries,
                                         const Bf16* keys, const Bf16* values, float scale,
                                         int first_key, bool is_masked, const LastSeen& last_seen) {
  constexpr int kRow = kRowElements<kD>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int matrix = lane / 8;
  const int in_matrix = lane % 8;

  float scores[kEights][4] = {};
  // Matrices: keys 0-7 and 8-15 of the first eight of k, then of the second.
  const Bf16* const own_keys = keys + (matrix % 2 * 8 + in_matrix) * kRow + matrix / 2 * 8;
#pragma unroll
  for (int k = 0; k < kD / 16; ++k) {
    uint32_t a[4];
    load_matrices(a, own_keys + k * 16);
#pragma unroll
    for (int i = 0; i < kEights; ++i) {
      mma_bf16(scores[i], a[0], a[1], a[2], a[3], queries.of[i][k][0], queries.of[i][k][1]);
    }
  }
  uint32_t weights[kEights][2];
#pragma unroll
  for (int i = 0; i < kEights; ++i) {
#pragma unroll
    for (int e = 0; e < 4; ++e) scores[i][e] *= scale;
    if (is_masked) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = i * 8 + lane % 4 * 2 + e % 2;
        if (first_key + lane / 4 + e / 2 * 8 > last_seen(row)) scores[i][e] = -INFINITY;
      }
    }
    rows[i].weigh(scores[i], weights[i]);
  }
  // Matrices: columns 0-7 and 8-15 of the first eight keys, then of the second.
  const Bf16* const own_values = values + (matrix / 2 * 8 + in_matrix) * kRow + matrix % 2 * 8;
#pragma unroll
  for (int j = 0; j < kD / 16; ++j) {
    uint32_t a[4];
    load_transposed_matrices(a, own_values + j * 16);
#pragma unroll
    for (int i = 0; i < kEights; ++i) {
      mma_bf16(rows[i].out[j], a[0], a[1], a[2], a[3], weights[i][0], weights[i][1]);
    }
  }
}

}  // namespace okapi::cuda
