// Attention of few queries over many keys: decoding. The keys of a sequence are cut into parts of
// fixed length, a block each; within a block each of four warps takes a quarter of every tile for
// the same 16 rows, and the warps' results are merged at the end. Whichever block of a row comes
// last merges the parts. Keys of earlier steps are fetched before the kernel that makes this step's
// has ended.
#include "backends/cuda/attention_rotate.cuh"

namespace okapi::cuda {

namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kRows = 16;
constexpr int kTileKeys = 64;
constexpr int kWarpKeys = kTileKeys / kWarps;

template <int kD, int kStages>
constexpr size_t kSharedBytes = ((kRows + kStages * 2 * kTileKeys) * kRowElements<kD> +
                                 kNewElements<kD>)*sizeof(Bf16);

/// The output of rows [first, first + n_rows) from their parts, which other blocks have left, in
/// the order of the parts; `slot` is that of row 0 in the first part. They come from far away: many
/// are asked for before the first is used.
template <int kThreads>
__device__ inline void merge_parts(const AttentionInput& input, const AttentionParts& parts,
                                   const SequenceRow& sequence, int kv_head, int64_t slot,
                                   int first, int n_rows, int n_parts) {
  __shared__ float largest_of[kRows];
  const int d = input.layout.head_dim;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int r = static_cast<int>(threadIdx.x) / kWarp; r < n_rows; r += kThreads / kWarp) {
    float largest = -INFINITY;
    for (int part = lane; part < n_parts; part += kWarp) {
      largest =
          fmaxf(largest, __ldcg(parts.states + slot + first + r + int64_t{part} * parts.n_rows).x);
    }
    largest = warp_max(largest);
    if (lane == 0) largest_of[r] = largest;
  }
  __syncthreads();

  constexpr int kAtOnce = 8;
  const int pieces = d / 4;
  for (int i = static_cast<int>(threadIdx.x); i < n_rows * pieces; i += kThreads) {
    const int r = i / pieces;
    const int column = i % pieces * 4;
    const float largest = largest_of[r];
    float sum = 0;
    float4 output = {0, 0, 0, 0};
    for (int part = 0; part < n_parts; part += kAtOnce) {
      float2 states[kAtOnce];
      float4 outputs[kAtOnce];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        if (part + j >= n_parts) continue;
        const int64_t at = slot + first + r + int64_t{part + j} * parts.n_rows;
        states[j] = __ldcg(parts.states + at);
        outputs[j] = __ldcg(reinterpret_cast<const float4*>(parts.outputs + at * d + column));
      }
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        if (part + j >= n_parts) continue;
        const float weight = exp2f(states[j].x - largest);
        sum += states[j].y * weight;
        output.x += outputs[j].x * weight;
        output.y += outputs[j].y * weight;
        output.z += outputs[j].z * weight;
        output.w += outputs[j].w * weight;
      }
    }
    const int row = first + r;
    const int head = kv_head * input.group + row % input.group;
    auto* const to = reinterpret_cast<uint32_t*>(
        static_cast<Bf16*>(input.out) +
        (sequence.first_row + row / input.group) * input.out_stride + int64_t{head} * d + column);
    const float scale = 1.0F / sum;
    to[0] = pack_bf16(output.x * scale, output.y * scale);
    to[1] = pack_bf16(output.z * scale, output.w * scale);
  }
}

template <int kD, int kStages>
__global__ void __launch_bounds__(kThreads)
    few_attention_kernel(AttentionInput input, AttentionParts parts) {
  constexpr int kTileElements = kTileKeys * kRowElements<kD>;
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ float largest_of[kWarps][kRows];
  __shared__ float sum_of[kWarps][kRows];
  auto* const queries = reinterpret_cast<Bf16*>(memory);
  Bf16* const tiles = queries + kRows * kRowElements<kD>;
  Bf16* const made = tiles + kStages * 2 * kTileElements;
  let_next_kernel_begin();

  const int sequence_index = static_cast<int>(blockIdx.x) / parts.n_parts;
  const int part = static_cast<int>(blockIdx.x) % parts.n_parts;
  const SequenceRow sequence = input.table.rows[sequence_index];
  const int kv_head = static_cast<int>(blockIdx.y);
  const int n_rows = sequence.n_tokens * input.group;
  const int first = static_cast<int>(blockIdx.z) * kRows;
  if (first >= n_rows) return;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t slot =
      ((int64_t{sequence_index} * input.layout.n_kv_heads + kv_head) * parts.n_parts + part) *
      parts.n_rows;

  const int n_seen = sequence.n_cached + (min(first + kRows, n_rows) - 1) / input.group + 1;
  const int n_part_keys = part_keys(sequence.n_cached + sequence.n_tokens, input.layout.n_kv_heads);
  const int n_used_parts = (n_seen + n_part_keys - 1) / n_part_keys;
  if (part >= n_used_parts) return;
  const int begin = part * n_part_keys;
  const int end = min(n_seen, begin + n_part_keys);
  const int n_tiles = (end - begin + kTileKeys - 1) / kTileKeys;
  const bool rotates = input.rotates != 0;
  // Where keys of this call are not in their pages yet, tiles are copied without them.
  const int end_copied = rotates ? min(end, sequence.n_cached) : end;

  const auto load = [&](int tile) {
    if (tile >= n_tiles) return;
    Bf16* const keys = tiles + (tile % kStages) * 2 * kTileElements;
    load_tile<kD, kTileKeys, kThreads>(input, sequence, kv_head, begin + tile * kTileKeys,
                                       end_copied, keys, keys + kTileElements);
  };
  // What has been in the cache since an earlier step, then what the kernel before this one makes.
  const auto is_old = [&](int tile) {
    return input.reads_ahead != 0 &&
           (rotates || begin + (tile + 1) * kTileKeys <= sequence.n_cached);
  };
#pragma unroll
  for (int stage = 0; stage + 1 < kStages; ++stage) {
    if (is_old(stage)) load(stage);
  }
  wait_for_previous_kernel();
  if (rotates) {
    load_rotated_queries<kD, kRows, kThreads>(input, sequence, kv_head, first, queries);
    make_new_keys<kD, kThreads>(input, sequence, kv_head, begin, end, made);
  } else {
    load_queries<kD, kRows, kThreads>(input, sequence, kv_head, first, queries);
  }
#pragma unroll
  for (int stage = 0; stage + 1 < kStages; ++stage) {
    if (!is_old(stage)) load(stage);
  }
  // Every stage is committed, also an empty one, so that the count of what is still out is right.
#pragma unroll
  for (int stage = 0; stage + 1 < kStages; ++stage) commit_copies();

  const int row[2] = {first + lane / 4, first + lane / 4 + 8};
  const int last_seen[2] = {
      min(end - 1, sequence.n_cached + min(row[0], n_rows - 1) / input.group),
      min(end - 1, sequence.n_cached + min(row[1], n_rows - 1) / input.group)};
  const float scale = sequence.score_scale * kLog2E;
  WarpRows<kD> rows;
  rows.clear();
  for (int tile = 0; tile < n_tiles; ++tile) {
    wait_for_copies<kStages - 2>();
    __syncthreads();
    load(tile + kStages - 1);  // into the stage that everyone has left
    commit_copies();
    Bf16* const keys = tiles + (tile % kStages) * 2 * kTileElements;
    const int first_key = begin + tile * kTileKeys;
    if (rotates && first_key + kTileKeys > sequence.n_cached) {
      place_new_keys<kD, kTileKeys, kThreads>(input, sequence, first_key, end, made, keys,
                                              keys + kTileElements);
      __syncthreads();
    }
    if (sequence.keys_are_raw != 0) {
      rotate_tile<kD, kTileKeys, kThreads>(input, sequence, first_key, end, keys);
      __syncthreads();
    }
    attend<kD, kWarpKeys, true>(rows, queries, keys + warp * kWarpKeys * kRowElements<kD>,
                                keys + kTileElements + warp * kWarpKeys * kRowElements<kD>, scale,
                                first_key + warp * kWarpKeys, last_seen);
  }
  wait_for_copies<0>();

  // The warps' results onto one base.
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    rows.sum[r] = sum_of_row(rows.sum[r]);
    if (lane % 4 == 0) {
      largest_of[warp][lane / 4 + 8 * r] = rows.largest[r];
      sum_of[warp][lane / 4 + 8 * r] = rows.sum[r];
    }
  }
  __syncthreads();
  auto* const outputs = reinterpret_cast<float*>(memory);  // [warps][rows][kD], over the tiles
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int within = lane / 4 + 8 * r;
    float largest = -INFINITY;
#pragma unroll
    for (int other = 0; other < kWarps; ++other)
      largest = fmaxf(largest, largest_of[other][within]);
    const float factor = largest == -INFINITY ? 0.0F : exp2f(rows.largest[r] - largest);
#pragma unroll
    for (int j = 0; j < kD / 8; ++j) {
      float* const to = outputs + (warp * kRows + within) * kD + j * 8 + lane % 4 * 2;
      to[0] = rows.out[j][2 * r] * factor;
      to[1] = rows.out[j][2 * r + 1] * factor;
    }
  }
  __syncthreads();

  const int d = input.layout.head_dim;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kD; i += kThreads) {
    const int within = i / kD;
    const int column = i % kD;
    const int r = first + within;
    if (r >= n_rows || column >= d) continue;
    float largest = -INFINITY;
#pragma unroll
    for (int other = 0; other < kWarps; ++other)
      largest = fmaxf(largest, largest_of[other][within]);
    float sum = 0;
    float output = 0;
#pragma unroll
    for (int other = 0; other < kWarps; ++other) {
      if (largest != -INFINITY)
        sum += sum_of[other][within] * exp2f(largest_of[other][within] - largest);
      output += outputs[(other * kRows + within) * kD + column];
    }
    if (n_used_parts == 1) {
      const int head = kv_head * input.group + r % input.group;
      static_cast<Bf16*>(input.out)[(sequence.first_row + r / input.group) * input.out_stride +
                                    int64_t{head} * d + column] =
          from_float<Bf16>(output * (1.0F / sum));
    } else {
      parts.outputs[(slot + r) * d + column] = output;
      if (column == 0) parts.states[slot + r] = {largest, sum};
    }
  }
  if (n_used_parts == 1) return;

  // Whoever comes last merges the parts, in their order; the counter is then 0 again.
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
  if (!is_last) return;
  merge_parts<kThreads>(input, parts, sequence, kv_head, slot - int64_t{part} * parts.n_rows, first,
                        min(kRows, n_rows - first), n_used_parts);
}

}  // namespace

void launch_few_attention(Queue& queue, const AttentionInput& input, const AttentionParts& parts,
                          int64_t most_rows, int n_processors) {
  const dim3 grid(static_cast<unsigned>(input.n_sequences * parts.n_parts),
                  static_cast<unsigned>(input.layout.n_kv_heads),
                  static_cast<unsigned>((most_rows + kRows - 1) / kRows));
  // Few blocks keep more of their tiles under way each; of many, three fit side by side instead.
  const int64_t n_blocks = int64_t{grid.x} * grid.y * grid.z;
  const bool is_few = n_blocks <= 2 * int64_t{n_processors};
  for_head_size(input.layout.head_dim, [&](auto size) {
    constexpr int kD = decltype(size)::value;
    if (kD <= 128 && is_few) {
      constexpr int kStages = kD <= 128 ? 3 : 2;
      queue.launch(few_attention_kernel<kD, kStages>, grid, kThreads, kSharedBytes<kD, kStages>,
                   input, parts);
    } else {
      queue.launch(few_attention_kernel<kD, 2>, grid, kThreads, kSharedBytes<kD, 2>, input, parts);
    }
  });
}

}  // namespace okapi::cuda
