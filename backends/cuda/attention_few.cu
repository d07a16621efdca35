// Attention of few queries over many keys: decoding. The keys of a sequence are cut into parts of
// fixed length, a block each; within a block each of four warps takes a quarter of every tile for
// the same 8 or 16 rows, and the warps' results are merged at the end. Whichever block of a row
// comes last merges the parts. Keys of earlier steps are fetched before the kernel that makes this
// step's has ended.
#include <algorithm>

#include "backends/cuda/attention_few_tile.cuh"
#include "backends/cuda/attention_rotate.cuh"
#include "backends/cuda/checks.h"

namespace okapi::cuda {

namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kTileKeys = kPartTile;
static_assert(kTileKeys == kWarps * 16);

template <int kD>
constexpr int kTileElements = kTileKeys* kRowElements<kD>;

/// The stages, of which the last has the queries at first and all have the warps' outputs at last;
/// then the keys and values of this call.
template <int kD, int kStages>
constexpr size_t kSharedBytes = (kStages * 2 * kTileElements<kD> + kNewElements<kD>)*sizeof(Bf16);

/// Of the warps' outputs, in floats: the pairs of rows that a warp writes lie in different banks.
template <int kD>
constexpr int kOutputRow = kD + 4;

/// What the blocks of a sequence, kv head and up to 16 rows know.
struct BlockRows {
  int kv_head;
  int first;     ///< row
  int n_rows;    ///< at most kRows
  int64_t slot;  ///< of `first` in the first part
};

/// Four columns of a row's output.
__device__ inline void write_output(const AttentionInput& input, const SequenceRow& sequence,
                                    int kv_head, int row, int column, float4 output, float sum) {
  const int token = row / input.group;
  const int head = kv_head * input.group + row - token * input.group;
  auto* const to = reinterpret_cast<uint32_t*>(static_cast<Bf16*>(input.out) +
                                               (sequence.first_row + token) * input.out_stride +
                                               int64_t{head} * input.layout.head_dim + column);
  const float scale = 1.0F / sum;
  to[0] = pack_bf16(output.x * scale, output.y * scale);
  to[1] = pack_bf16(output.z * scale, output.w * scale);
}

/// The output of a block's rows from their parts, which other blocks have left, in the order of the
/// parts. They come from far away: many are asked for before the first is used.
template <int kD>
__device__ inline void merge_parts(const AttentionInput& input, const AttentionParts& parts,
                                   const SequenceRow& sequence, const BlockRows& block,
                                   int n_parts) {
  constexpr int kAtOnce = 8;
  constexpr int kPieces = kD / 4;
  const int d = input.layout.head_dim;
  for (int i = static_cast<int>(threadIdx.x); i < block.n_rows * kPieces; i += kThreads) {
    const int row = i / kPieces;
    const int column = i % kPieces * 4;
    if (column >= d) continue;
    const float2* const first_state = parts.states + block.slot + row;
    const float* const first_output = parts.outputs + (block.slot + row) * d + column;
    float largest = -FLT_MAX;
    float sum = 0;
    float4 output = {0, 0, 0, 0};
    for (int part = 0; part < n_parts; part += kAtOnce) {
      float2 states[kAtOnce];
      float4 outputs[kAtOnce];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        states[j] = {-FLT_MAX, 0};
        outputs[j] = {0, 0, 0, 0};
        if (part + j >= n_parts) continue;
        const int64_t at = int64_t{part + j} * parts.n_rows;
        states[j] = __ldcg(first_state + at);
        outputs[j] = __ldcg(reinterpret_cast<const float4*>(first_output + at * d));
      }
      float base = largest;
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) base = fmaxf(base, states[j].x);
      const float shrink = fast_exp2(largest - base);
      largest = base;
      sum *= shrink;
      output = {output.x * shrink, output.y * shrink, output.z * shrink, output.w * shrink};
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const float weight = fast_exp2(states[j].x - base);
        sum += states[j].y * weight;
        output.x += outputs[j].x * weight;
        output.y += outputs[j].y * weight;
        output.z += outputs[j].z * weight;
        output.w += outputs[j].w * weight;
      }
    }
    write_output(input, sequence, block.kv_head, block.first + row, column, output, sum);
  }
}

template <int kRows>
struct WarpStates {
  float largest[kWarps][kRows];
  float sum[kWarps][kRows];

  __device__ float largest_of(int row) const {
    float result = largest[0][row];
#pragma unroll
    for (int warp = 1; warp < kWarps; ++warp) result = fmaxf(result, largest[warp][row]);
    return result;
  }
  __device__ float sum_of(int row) const {
    float result = sum[0][row];
#pragma unroll
    for (int warp = 1; warp < kWarps; ++warp) result += sum[warp][row];
    return result;
  }
};

/// The warps' results onto one base: states, and outputs [warps][kRows][kOutputRow], which lie over
/// the tiles.
template <int kD, int kEights>
__device__ inline void share_results(EightRows<kD> (&rows)[kEights],
                                     WarpStates<kEights * 8>& states, float* outputs) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int i = 0; i < kEights; ++i) {
    rows[i].add_up_sums();
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (lane < 4) states.largest[warp][i * 8 + lane * 2 + r] = rows[i].base[r];
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kEights; ++i) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = i * 8 + lane % 4 * 2 + r;
      const float factor = fast_exp2(rows[i].base[r] - states.largest_of(row));
      if (lane < 4) states.sum[warp][row] = rows[i].sum[r] * factor;
      float* const to = outputs + (warp * kEights * 8 + row) * kOutputRow<kD> + lane / 4;
#pragma unroll
      for (int j = 0; j < kD / 16; ++j) {
        to[j * 16] = rows[i].out[j][r] * factor;
        to[j * 16 + 8] = rows[i].out[j][r + 2] * factor;
      }
    }
  }
  __syncthreads();
}

template <int kD, int kStages, int kRows>
__global__ void __launch_bounds__(kThreads, kD <= 64    ? 4
                                            : kD <= 128 ? 3
                                                        : 1)
    few_attention_kernel(AttentionInput input, AttentionParts parts) {
  constexpr int kEights = kRows / 8;
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ WarpStates<kRows> states;
  auto* const tiles = reinterpret_cast<Bf16*>(memory);
  Bf16* const queries = tiles + (kStages - 1) * 2 * kTileElements<kD>;
  Bf16* const made = tiles + kStages * 2 * kTileElements<kD>;
  let_next_kernel_begin();

  const int sequence_index = static_cast<int>(blockIdx.x) / parts.n_parts;
  const int part = static_cast<int>(blockIdx.x) - sequence_index * parts.n_parts;
  const SequenceRow sequence = input.table.rows[sequence_index];
  const int n_rows = sequence.n_tokens * input.group;
  const int first = static_cast<int>(blockIdx.z) * kRows;
  if (first >= n_rows) return;
  const int kv_head = static_cast<int>(blockIdx.y);

  const int last_token =
      first + kRows >= n_rows ? sequence.n_tokens - 1 : (first + kRows - 1) / input.group;
  const int n_seen = sequence.n_cached + last_token + 1;
  const int n_part_keys = keys_of_part(parts, sequence, input.layout.n_kv_heads);
  const int begin = part * n_part_keys;
  if (begin >= n_seen) return;
  const int end = min(n_seen, begin + n_part_keys);
  const bool rotates = input.rotates != 0;
  // Where keys of this call are not in their pages yet, tiles are copied without them.
  const int end_copied = rotates ? min(end, sequence.n_cached) : end;

  TileReader<kD, kTileKeys, kStages, kThreads> reader(input, sequence, kv_head, begin, end_copied,
                                                      end, tiles);
  // What has been in the cache since an earlier step, then what the kernel before this one makes.
  int n_ahead = 0;
  if (input.reads_ahead != 0) {
    n_ahead =
        rotates ? kStages - 1 : min(max(sequence.n_cached - begin, 0) / kTileKeys, kStages - 1);
  }
#pragma unroll 1
  for (int tile = 0; tile < n_ahead; ++tile) reader.copy_next();
  wait_for_previous_kernel();
  if (rotates) {
    load_rotated_queries<kD, kRows, kThreads>(input, sequence, kv_head, first, queries);
    make_new_keys<kD, kThreads>(input, sequence, kv_head, begin, end, made);
  } else {
    load_queries<kD, kRows, kThreads>(input, sequence, kv_head, first, queries);
    commit_copies();
    wait_for_copies<0>();
  }
#pragma unroll 1
  for (int tile = n_ahead; tile < kStages - 1; ++tile) reader.copy_next();
  __syncthreads();
  QueryMatrices<kD, kEights> query_matrices;
  query_matrices.load(queries);

  const auto last_seen = [&](int row) {
    return sequence.n_cached + min(first + row, n_rows - 1) / input.group;
  };
  const int n_seen_by_all = min(end, last_seen(0) + 1);
  const float scale = sequence.score_scale * kLog2E;
  const int warp_key = static_cast<int>(threadIdx.x) / kWarp * 16;
  EightRows<kD> rows[kEights];
#pragma unroll
  for (int i = 0; i < kEights; ++i) rows[i].clear();
  int stage = 0;
#pragma unroll 1
  for (int key = begin; key < end; key += kTileKeys) {
    wait_for_copies<kStages - 2>();
    __syncthreads();
    reader.copy_next();  // into the stage that everyone has left
    Bf16* const keys = tiles + stage * 2 * kTileElements<kD>;
    Bf16* const values = keys + kTileElements<kD>;
    stage = stage + 1 == kStages ? 0 : stage + 1;
    if (rotates && key + kTileKeys > sequence.n_cached) {
      place_new_keys<kD, kTileKeys, kThreads>(input, sequence, key, end, made, keys, values);
      __syncthreads();
    }
    if (sequence.keys_are_raw != 0) {
      rotate_tile<kD, kTileKeys, kThreads>(input, sequence, key, end, keys);
      __syncthreads();
    }
    attend_to_16_keys(rows, query_matrices, keys + warp_key * kRowElements<kD>,
                      values + warp_key * kRowElements<kD>, scale, key + warp_key,
                      key + kTileKeys > n_seen_by_all,
                      [&](int row) { return min(end - 1, last_seen(row)); });
  }

  auto* const outputs = reinterpret_cast<float*>(memory);
  wait_for_copies<0>();
  share_results(rows, states, outputs);

  const BlockRows block = {
      kv_head, first, min(kRows, n_rows - first),
      (int64_t{sequence_index} * input.layout.n_kv_heads + kv_head) * parts.n_parts * parts.n_rows +
          first};
  const int64_t slot = block.slot + int64_t{part} * parts.n_rows;
  const int d = input.layout.head_dim;
  const bool is_only_part = n_seen <= n_part_keys;
  constexpr int kPieces = kD / 4;
  for (int i = static_cast<int>(threadIdx.x); i < block.n_rows * kPieces; i += kThreads) {
    const int row = i / kPieces;
    const int column = i % kPieces * 4;
    if (column >= d) continue;
    float4 output = {0, 0, 0, 0};
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      const float4 own = *reinterpret_cast<const float4*>(
          outputs + (warp * kRows + row) * kOutputRow<kD> + column);
      output.x += own.x;
      output.y += own.y;
      output.z += own.z;
      output.w += own.w;
    }
    const float sum = states.sum_of(row);
    if (is_only_part) {
      write_output(input, sequence, kv_head, first + row, column, output, sum);
    } else {
      *reinterpret_cast<float4*>(parts.outputs + (slot + row) * d + column) = output;
      if (column == 0) parts.states[slot + row] = {states.largest_of(row), sum};
    }
  }
  if (is_only_part) return;

  // Whoever comes last merges the parts, in their order; the counter is then 0 again.
  const int n_used_parts = (n_seen + n_part_keys - 1) / n_part_keys;
  __shared__ bool is_last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    const int64_t counter =
        (int64_t{sequence_index} * input.layout.n_kv_heads + kv_head) * gridDim.z + blockIdx.z;
    const auto last = static_cast<unsigned>(n_used_parts) - 1;
    is_last = atomicInc(parts.arrivals + counter, last) == last;
    __threadfence();
  }
  __syncthreads();
  if (is_last) merge_parts<kD>(input, parts, sequence, block, n_used_parts);
}

using Kernel = void (*)(AttentionInput, AttentionParts);

/// Runs `body` with the kernel for a head size, few rows or more, and few blocks or many: few keep
/// more of their tiles under way each, of many more fit side by side.
template <typename Body>
void with_kernel(int head_dim, int64_t most_rows, bool is_few, const Body& body) {
  for_head_size(head_dim, [&](auto size) {
    constexpr int kD = decltype(size)::value;
    constexpr int kStagesOfFew = kD <= 128 ? 3 : 2;
    constexpr int kStagesOfMany = kD <= 64 ? 3 : 2;
    constexpr int kMostRows = kD <= 128 ? 16 : 8;  // what registers hold
    const auto with_stages = [&](auto rows) {
      constexpr int kRows = decltype(rows)::value;
      if (is_few) {
        body(&few_attention_kernel<kD, kStagesOfFew, kRows>, kSharedBytes<kD, kStagesOfFew>, kRows);
      } else {
        body(&few_attention_kernel<kD, kStagesOfMany, kRows>, kSharedBytes<kD, kStagesOfMany>,
             kRows);
      }
    };
    if (most_rows <= 8) {
      with_stages(std::integral_constant<int, 8>());
    } else {
      with_stages(std::integral_constant<int, kMostRows>());
    }
  });
}

int64_t blocks_of(int64_t most_rows, int rows_per_block) {
  return (most_rows + rows_per_block - 1) / rows_per_block;
}

}  // namespace

FewAttentionBlocks few_attention_blocks(int64_t head_dim, int64_t most_rows, int n_processors) {
  FewAttentionBlocks blocks = {};
  with_kernel(
      static_cast<int>(head_dim), most_rows, false,
      [&](Kernel kernel, size_t shared_bytes, int rows_per_block) {
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shared_bytes)),
              "cudaFuncSetAttribute");
        int fits = 0;
        check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&fits, kernel, kThreads, shared_bytes),
              "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
        blocks = {blocks_of(most_rows, rows_per_block),
                  std::max<int64_t>(1, int64_t{fits} * n_processors)};
      });
  return blocks;
}

void launch_few_attention(Queue& queue, const AttentionInput& input, const AttentionParts& parts,
                          int64_t most_rows, int n_processors) {
  const int64_t n_blocks = int64_t{input.n_sequences} * parts.n_parts * input.layout.n_kv_heads *
                           ((most_rows + 15) / 16);
  const bool is_few = n_blocks <= 2 * int64_t{n_processors};
  with_kernel(input.layout.head_dim, most_rows, is_few,
              [&](Kernel kernel, size_t shared_bytes, int rows_per_block) {
                const dim3 grid(static_cast<unsigned>(input.n_sequences * parts.n_parts),
                                static_cast<unsigned>(input.layout.n_kv_heads),
                                static_cast<unsigned>(blocks_of(most_rows, rows_per_block)));
                queue.launch(kernel, grid, kThreads, shared_bytes, input, parts);
              });
}

}  // namespace okapi::cuda
