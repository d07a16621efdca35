// The backward of attention on the tensor cores, in tiles whose weights are made again from the log
// sums (Dao et al. 2022, arXiv:2205.14135). With p the weights, o the output and D = o . do per
// row:
//
//   ds = p (do v^T - D)      dq = scale ds k      dk = scale ds^T q      dv = p^T do
//
// Two passes: one block per tile of queries sums dq over keys, one per tile of keys sums dk and dv
// over queries and the heads that share them. That is seven products where sums by atomic additions
// would need five; in exchange every sum has one writer and one order.
//
// Both passes are the same loop with rows and columns exchanged: a warp has 16 rows a1, a2 (q and
// do; or k and v), tiles of columns b1, b2 (k and v; or q and do) pass by, and a1 b1^T are the
// scores, a2 b2^T the gradients of the weights.
#include <algorithm>
#include <type_traits>

#include "backends/cuda/attention_backward.h"
#include "backends/cuda/attention_tile.cuh"
#include "backends/cuda/device.cuh"
#include "backends/cuda/mma.cuh"

namespace okapi::cuda {

namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kRows = kWarps * 16;

/// Columns of a tile: few where a warp holds two sums of full width.
template <int kD, bool kOfKeys>
constexpr int kColumns = kOfKeys&& kD > 64 ? 32 : 64;

template <int kD, bool kOfKeys>
constexpr size_t kSharedBytes = (2 * kRows + 4 * kColumns<kD, kOfKeys>)*kRowElements<kD> *
                                    sizeof(Bf16) +
                                (kOfKeys ? 4 * kColumns<kD, kOfKeys> * sizeof(float) : 0);

/// Blocks at once on a processor: what hides that each of them waits.
template <int kD>
constexpr int kBlocks = kD > 64 ? 2 : 3;

/// Begins to copy rows [first, first + kN) of one head, zeros from `end` on.
template <int kD, int kN>
__device__ inline void load_rows(Bf16* to, const Bf16* from, int64_t stride, int first, int end,
                                 int d) {
  constexpr int kPieces = kD / 8;
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < kN * kPieces; i += kThreads) {
    const int row = i / kPieces;
    const int column = i % kPieces * 8;
    const bool is_there = first + row < end && column < d;
    copy_async(to + row * kRowElements<kD> + column,
               is_there ? from + (first + row) * stride + column : from, is_there);
  }
}

template <int kN>
__device__ inline void clear(float (&x)[kN][4]) {
#pragma unroll
  for (int j = 0; j < kN; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) x[j][e] = 0;
  }
}

/// x [16, kColumns] = a [16, kD] b [kColumns, kD]^T.
template <int kD, int kN>
__device__ inline void multiply_rows(float (&x)[kN / 8][4], const Bf16* a, const Bf16* b) {
  constexpr int kRow = kRowElements<kD>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int matrix = lane / 8;
  const int in_matrix = lane % 8;
  clear(x);
#pragma unroll
  for (int k = 0; k < kD / 16; ++k) {
    uint32_t left[4];
    load_matrices(left, a + ((matrix % 2) * 8 + in_matrix) * kRow + k * 16 + (matrix / 2) * 8);
#pragma unroll
    for (int j = 0; j < kN / 16; ++j) {
      uint32_t right[4];
      load_matrices(right,
                    b + (j * 16 + (matrix / 2) * 8 + in_matrix) * kRow + k * 16 + (matrix % 2) * 8);
      mma_bf16(x[2 * j], left[0], left[1], left[2], left[3], right[0], right[1]);
      mma_bf16(x[2 * j + 1], left[0], left[1], left[2], left[3], right[2], right[3]);
    }
  }
}

/// sum [16, kD] += x [16, kColumns] b [kColumns, kD].
template <int kD, int kN>
__device__ inline void add_products(float (&sum)[kD / 8][4], const float (&x)[kN / 8][4],
                                    const Bf16* b) {
  constexpr int kRow = kRowElements<kD>;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int matrix = lane / 8;
  const int in_matrix = lane % 8;
#pragma unroll
  for (int k = 0; k < kN / 16; ++k) {
    const uint32_t a0 = pack_bf16(x[2 * k][0], x[2 * k][1]);
    const uint32_t a1 = pack_bf16(x[2 * k][2], x[2 * k][3]);
    const uint32_t a2 = pack_bf16(x[2 * k + 1][0], x[2 * k + 1][1]);
    const uint32_t a3 = pack_bf16(x[2 * k + 1][2], x[2 * k + 1][3]);
#pragma unroll
    for (int j = 0; j < kD / 16; ++j) {
      uint32_t right[4];
      load_transposed_matrices(
          right, b + (k * 16 + (matrix % 2) * 8 + in_matrix) * kRow + j * 16 + (matrix / 2) * 8);
      mma_bf16(sum[2 * j], a0, a1, a2, a3, right[0], right[1]);
      mma_bf16(sum[2 * j + 1], a0, a1, a2, a3, right[2], right[3]);
    }
  }
}

template <int kD>
__device__ inline void write_rows(Bf16* to, int64_t stride, int first, int end, int d,
                                  const float (&sum)[kD / 8][4], float scale) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first + lane / 4 + r * 8;
    if (row >= end) continue;
#pragma unroll
    for (int j = 0; j < kD / 8; ++j) {
      const int column = j * 8 + lane % 4 * 2;
      if (column >= d) continue;
      *reinterpret_cast<uint32_t*>(to + row * stride + column) =
          pack_bf16(sum[j][2 * r] * scale, sum[j][2 * r + 1] * scale);
    }
  }
}

/// Tiles along x, heads (of keys, if kOfKeys) along y, sequences along z.
template <int kD, bool kOfKeys>
__global__ void __launch_bounds__(kThreads, kBlocks<kD>) backward_kernel(AttentionGradient input) {
  constexpr int kN = kColumns<kD, kOfKeys>;
  constexpr int kTile = kN * kRowElements<kD>;
  extern __shared__ __align__(16) unsigned char memory[];
  auto* const own = reinterpret_cast<Bf16*>(memory);  // a1, then a2
  Bf16* const tiles = own + 2 * kRows * kRowElements<kD>;
  auto* const numbers = reinterpret_cast<float*>(tiles + 4 * kTile);  // log sums, row sums
  wait_for_previous_kernel();

  const SequenceRow sequence = input.sequences[blockIdx.z];
  const int n = sequence.n_tokens;
  // The blocks with the most work come first: the last queries, the first keys.
  const int tile_index = static_cast<int>(kOfKeys ? blockIdx.x : gridDim.x - 1 - blockIdx.x);
  const int first = tile_index * kRows;
  if (first >= n) return;
  const int d = input.head_dim;
  const int group = input.n_heads / input.n_kv_heads;
  const int kv_head = static_cast<int>(kOfKeys ? blockIdx.y : blockIdx.y / group);
  const auto* const rows =
      static_cast<const Bf16*>(input.qkv) + sequence.first_row * input.row_stride;
  const Bf16* const keys = rows + int64_t{input.n_heads + kv_head} * d;
  const Bf16* const values = keys + int64_t{input.n_kv_heads} * d;
  const auto* const out_gradient =
      static_cast<const Bf16*>(input.out_gradient) + sequence.first_row * input.out_gradient_stride;
  const float* const log_sums = input.log_sums + sequence.first_row * input.log_sums_stride;
  const float* const row_sums = input.row_sums + sequence.first_row * input.n_heads;

  // The columns that pass by: keys up to the last query, or queries from the first key on, once for
  // each head of the group.
  const int first_column = kOfKeys ? first / kN * kN : 0;
  const int end_column = kOfKeys ? n : min(first + kRows, n);
  const int tiles_per_head = (end_column - first_column + kN - 1) / kN;
  const int n_tiles = kOfKeys ? tiles_per_head * group : tiles_per_head;
  const auto head_of = [&](int tile) {
    return kOfKeys ? kv_head * group + tile / tiles_per_head : static_cast<int>(blockIdx.y);
  };
  const auto column_of = [&](int tile) {
    return first_column + (kOfKeys ? tile % tiles_per_head : tile) * kN;
  };
  const auto load = [&](int tile) {
    Bf16* const b1 = tiles + (tile % 2) * 2 * kTile;
    const int column = column_of(tile);
    if constexpr (kOfKeys) {
      const int head = head_of(tile);
      load_rows<kD, kN>(b1, rows + int64_t{head} * d, input.row_stride, column, n, d);
      load_rows<kD, kN>(b1 + kTile, out_gradient + int64_t{head} * d, input.out_gradient_stride,
                        column, n, d);
      float* const to = numbers + (tile % 2) * 2 * kN;
      if (threadIdx.x < kN) {
        const int query = column + static_cast<int>(threadIdx.x);
        const bool is_there = query < n;
        to[threadIdx.x] = is_there ? log_sums[query * input.log_sums_stride + head] * kLog2E : 0.0F;
        to[kN + threadIdx.x] = is_there ? row_sums[int64_t{query} * input.n_heads + head] : 0.0F;
      }
    } else {
      load_rows<kD, kN>(b1, keys, input.row_stride, column, n, d);
      load_rows<kD, kN>(b1 + kTile, values, input.row_stride, column, n, d);
    }
    commit_copies();
  };
  if constexpr (kOfKeys) {
    load_rows<kD, kRows>(own, keys, input.row_stride, first, n, d);
    load_rows<kD, kRows>(own + kRows * kRowElements<kD>, values, input.row_stride, first, n, d);
  } else {
    const int64_t at = int64_t{blockIdx.y} * d;
    load_rows<kD, kRows>(own, rows + at, input.row_stride, first, n, d);
    load_rows<kD, kRows>(own + kRows * kRowElements<kD>, out_gradient + at,
                         input.out_gradient_stride, first, n, d);
  }
  load(0);

  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int row[2] = {first + warp * 16 + lane / 4, first + warp * 16 + lane / 4 + 8};
  const Bf16* const a1 = own + warp * 16 * kRowElements<kD>;
  const Bf16* const a2 = a1 + kRows * kRowElements<kD>;
  const float scale = sequence.score_scale * kLog2E;
  float log_sum[2] = {};
  float row_sum[2] = {};
  if constexpr (!kOfKeys) {
    for (int r = 0; r < 2; ++r) {
      if (row[r] >= n) continue;
      log_sum[r] = log_sums[row[r] * input.log_sums_stride + blockIdx.y] * kLog2E;
      row_sum[r] = row_sums[int64_t{row[r]} * input.n_heads + blockIdx.y];
    }
  }
  float sum1[kD / 8][4];                // dq, or dk
  float sum2[kOfKeys ? kD / 8 : 1][4];  // dv
  clear(sum1);
  clear(sum2);

  for (int tile = 0; tile < n_tiles; ++tile) {
    if (tile + 1 < n_tiles) {
      load(tile + 1);
      wait_for_copies<1>();
    } else {
      wait_for_copies<0>();
    }
    __syncthreads();
    const Bf16* const b1 = tiles + (tile % 2) * 2 * kTile;
    const Bf16* const b2 = b1 + kTile;
    const float* const column_numbers = numbers + (tile % 2) * 2 * kN;
    const int column = column_of(tile);
    // Whether some pair of this tile is not a query and a key that it sees.
    const bool is_masked =
        kOfKeys ? column < first + kRows || column + kN > n : column + kN - 1 > first;

    float weights[kN / 8][4];
    float gradients[kN / 8][4];
    multiply_rows<kD, kN>(weights, a1, b1);
    multiply_rows<kD, kN>(gradients, a2, b2);
    const auto turn = [&](auto masked) {
#pragma unroll
      for (int j = 0; j < kN / 8; ++j) {
        const int within = j * 8 + lane % 4 * 2;
        float2 log = {};
        float2 mean = {};
        if constexpr (kOfKeys) {
          log = *reinterpret_cast<const float2*>(column_numbers + within);
          mean = *reinterpret_cast<const float2*>(column_numbers + kN + within);
        }
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const float own_log = kOfKeys ? (e % 2 == 0 ? log.x : log.y) : log_sum[e / 2];
          const float own_mean = kOfKeys ? (e % 2 == 0 ? mean.x : mean.y) : row_sum[e / 2];
          float weight = exp2f(weights[j][e] * scale - own_log);
          if constexpr (decltype(masked)::value) {
            const int other = column + within + e % 2;
            const int query = kOfKeys ? other : row[e / 2];
            const int key = kOfKeys ? row[e / 2] : other;
            if (key > query || query >= n) weight = 0;
          }
          gradients[j][e] = weight * (gradients[j][e] - own_mean);
          weights[j][e] = weight;
        }
      }
    };
    if (is_masked) {
      turn(std::true_type());
    } else {
      turn(std::false_type());
    }
    add_products<kD, kN>(sum1, gradients, b1);
    if constexpr (kOfKeys) add_products<kD, kN>(sum2, weights, b2);
    __syncthreads();  // before the tile is overwritten
  }

  auto* const to =
      static_cast<Bf16*>(input.qkv_gradient) + sequence.first_row * input.gradient_stride;
  if constexpr (kOfKeys) {
    Bf16* const key_gradient = to + int64_t{input.n_heads + kv_head} * d;
    write_rows<kD>(key_gradient, input.gradient_stride, first + warp * 16, n, d, sum1,
                   sequence.score_scale);
    write_rows<kD>(key_gradient + int64_t{input.n_kv_heads} * d, input.gradient_stride,
                   first + warp * 16, n, d, sum2, 1.0F);
  } else {
    write_rows<kD>(to + int64_t{blockIdx.y} * d, input.gradient_stride, first + warp * 16, n, d,
                   sum1, sequence.score_scale);
  }
}

template <int kD, bool kOfKeys>
void launch_pass(Queue& queue, const AttentionGradient& input) {
  const dim3 grid(static_cast<unsigned>((input.most_tokens + kRows - 1) / kRows),
                  static_cast<unsigned>(kOfKeys ? input.n_kv_heads : input.n_heads),
                  static_cast<unsigned>(input.n_sequences));
  queue.launch(backward_kernel<kD, kOfKeys>, grid, kThreads, kSharedBytes<kD, kOfKeys>, input);
}

}  // namespace

void launch_attention_backward(Queue& queue, const AttentionGradient& input) {
  launch_row_sums(queue, input, DType::bf16);
  for_head_size(input.head_dim, [&](auto size) {
    constexpr int kD = decltype(size)::value;
    if constexpr (kD <= kMostTileHeadDim) {
      launch_pass<kD, true>(queue, input);
      launch_pass<kD, false>(queue, input);
    }
  });
}

}  // namespace okapi::cuda
