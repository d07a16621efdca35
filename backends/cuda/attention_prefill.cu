// Attention of whole prompts on the tensor cores. A block has 128 rows, 16 a warp, and walks their
// keys in tiles that are copied while the tile before is being used. Blocks with the most keys come
// first.
#include "backends/cuda/attention_tile.cuh"

namespace okapi::cuda {

namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kRows = kWarps * 16;
template <int kD>
constexpr int kTileKeys = kD > 128 ? 32 : 64;

template <int kD>
constexpr size_t kSharedBytes = (kRows + 4 * kTileKeys<kD>)*kRowElements<kD> *
                                sizeof(Bf16);  // two tiles of keys and values

template <int kD>
__global__ void __launch_bounds__(kThreads, kD > 128 ? 1 : 2) prefill_kernel(AttentionInput input) {
  constexpr int kKeys = kTileKeys<kD>;
  constexpr int kTileElements = kKeys * kRowElements<kD>;
  extern __shared__ __align__(16) unsigned char memory[];
  auto* const queries = reinterpret_cast<Bf16*>(memory);
  Bf16* const tiles = queries + kRows * kRowElements<kD>;
  wait_for_previous_kernel();

  const SequenceRow sequence = input.table.rows[blockIdx.z];
  const int kv_head = static_cast<int>(blockIdx.y);
  const int n_rows = sequence.n_tokens * input.group;
  const int first = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kRows;
  if (first >= n_rows) return;
  const int last_token = min(first + kRows, n_rows) - 1;
  const int n_keys = sequence.n_cached + last_token / input.group + 1;
  const int n_tiles = (n_keys + kKeys - 1) / kKeys;
  const int seen_by_all = sequence.n_cached + first / input.group;

  const auto load = [&](int tile) {
    Bf16* const keys = tiles + (tile % 2) * 2 * kTileElements;
    load_tile<kD, kKeys, kThreads>(input, sequence, kv_head, tile * kKeys, n_keys, keys,
                                   keys + kTileElements);
    commit_copies();
  };
  load_queries<kD, kRows, kThreads>(input, sequence, kv_head, first, queries);
  load(0);

  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int row[2] = {first + warp * 16 + lane / 4, first + warp * 16 + lane / 4 + 8};
  const int last_seen[2] = {sequence.n_cached + min(row[0], n_rows - 1) / input.group,
                            sequence.n_cached + min(row[1], n_rows - 1) / input.group};
  const float scale = sequence.score_scale * kLog2E;
  const Bf16* const own_queries = queries + warp * 16 * kRowElements<kD>;
  WarpRows<kD> rows;
  rows.clear();

  for (int tile = 0; tile < n_tiles; ++tile) {
    if (tile + 1 < n_tiles) {
      load(tile + 1);
      wait_for_copies<1>();
    } else {
      wait_for_copies<0>();
    }
    __syncthreads();
    Bf16* const keys = tiles + (tile % 2) * 2 * kTileElements;
    if (sequence.keys_are_raw != 0) {
      rotate_tile<kD, kKeys, kThreads>(input, sequence, tile * kKeys, n_keys, keys);
      __syncthreads();
    }
    if (tile * kKeys + kKeys - 1 > seen_by_all) {
      attend<kD, kKeys, true>(rows, own_queries, keys, keys + kTileElements, scale, tile * kKeys,
                              last_seen);
    } else {
      attend<kD, kKeys, false>(rows, own_queries, keys, keys + kTileElements, scale, tile * kKeys,
                               last_seen);
    }
    __syncthreads();  // before the tile is overwritten
  }

#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = sum_of_row(rows.sum[r]);
    const float inverse = 1.0F / sum;
    if (row[r] >= n_rows) continue;
    const int head = kv_head * input.group + row[r] % input.group;
    if (input.log_sums != nullptr && lane % 4 == 0) {
      write_log_sum(input, sequence.first_row + row[r] / input.group, head, rows.largest[r], sum);
    }
    Bf16* const to = static_cast<Bf16*>(input.out) +
                     (sequence.first_row + row[r] / input.group) * input.out_stride +
                     int64_t{head} * input.layout.head_dim;
#pragma unroll
    for (int j = 0; j < kD / 8; ++j) {
      const int column = j * 8 + lane % 4 * 2;
      if (column >= input.layout.head_dim) continue;
      *reinterpret_cast<uint32_t*>(to + column) =
          pack_bf16(rows.out[j][2 * r] * inverse, rows.out[j][2 * r + 1] * inverse);
    }
  }
}

}  // namespace

void launch_prefill_attention(Queue& queue, const AttentionInput& input, int64_t most_rows) {
  const dim3 grid(static_cast<unsigned>((most_rows + kRows - 1) / kRows),
                  static_cast<unsigned>(input.layout.n_kv_heads),
                  static_cast<unsigned>(input.n_sequences));
  for_head_size(input.layout.head_dim, [&](auto size) {
    constexpr int kD = decltype(size)::value;
    queue.launch(prefill_kernel<kD>, grid, kThreads, kSharedBytes<kD>, input);
  });
}

}  // namespace okapi::cuda
