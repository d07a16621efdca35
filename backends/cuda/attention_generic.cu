// Attention without tensor cores: f32, and head sizes that the others do not take. Also the merging
// of parts, which all share.
#include <algorithm>

#include "backends/cuda/attention_tile.cuh"

namespace okapi::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kRows = 16;
constexpr int kTileKeys = 32;
constexpr int kLanesPerRow = kThreads / kRows;

/// Queries, keys (rows one longer, against bank conflicts), values, scores; then three numbers a
/// row.
__host__ __device__ constexpr size_t shared_floats(int d) {
  return static_cast<size_t>(kRows * d + kTileKeys * (d + 1) + kTileKeys * d +
                             kRows * (kTileKeys + 1) + 3 * kRows);
}

template <typename T, int kMostD>
__global__ void __launch_bounds__(kThreads)
    generic_attention_kernel(AttentionInput input, AttentionParts parts) {
  extern __shared__ __align__(16) unsigned char memory[];
  const int d = input.layout.head_dim;
  auto* const queries = reinterpret_cast<float*>(memory);
  float* const keys = queries + kRows * d;
  float* const values = keys + kTileKeys * (d + 1);
  float* const scores = values + kTileKeys * d;
  float* const largest = scores + kRows * (kTileKeys + 1);
  float* const sums = largest + kRows;
  float* const shrinks = sums + kRows;
  wait_for_previous_kernel();

  const int sequence_index = static_cast<int>(blockIdx.x) / parts.n_parts;
  const int part = static_cast<int>(blockIdx.x) % parts.n_parts;
  const SequenceRow sequence = input.table.rows[sequence_index];
  const int kv_head = static_cast<int>(blockIdx.y);
  const int n_rows = sequence.n_tokens * input.group;
  const int tid = static_cast<int>(threadIdx.x);
  const int64_t slot =
      ((int64_t{sequence_index} * input.layout.n_kv_heads + kv_head) * parts.n_parts + part) *
      parts.n_rows;

  // More row blocks than the grid's last size holds go round.
  for (int first = static_cast<int>(blockIdx.z) * kRows; first < n_rows;
       first += static_cast<int>(gridDim.z) * kRows) {
    const int n_seen = sequence.n_cached + (min(first + kRows, n_rows) - 1) / input.group + 1;
    // A whole prompt is not cut into parts.
    const int n_part_keys =
        parts.n_parts == 1 ? n_seen : keys_of_part(parts, sequence, input.layout.n_kv_heads);
    const int begin = part * n_part_keys;
    const int end = min(n_seen, begin + n_part_keys);
    if (begin >= end) continue;
    const float scale = sequence.score_scale * kLog2E;
    __syncthreads();
    for (int i = tid; i < kRows * d; i += kThreads) {
      const int r = min(first + i / d, n_rows - 1);
      const int head = kv_head * input.group + r % input.group;
      queries[i] =
          scale * to_float(static_cast<const T*>(
                      input.queries)[(sequence.first_row + r / input.group) * input.query_stride +
                                     int64_t{head} * d + i % d]);
    }
    if (tid < kRows) {
      largest[tid] = -INFINITY;
      sums[tid] = 0;
    }
    float out[kMostD / kLanesPerRow] = {};
    const int own_row = tid / kLanesPerRow;
    const int own_lane = tid % kLanesPerRow;

    for (int key = begin; key < end; key += kTileKeys) {
      const int n_keys = min(kTileKeys, end - key);
      __syncthreads();
      const int half = d / 2;
      for (int i = tid; i < kTileKeys * half; i += kThreads) {
        const int row = i / half;
        const int pair = i % half;
        float x[4] = {};
        if (row < n_keys) {
          const int page = (key + row) / input.layout.page_tokens;
          const int within = (key + row) % input.layout.page_tokens;
          const std::byte* const at =
              input.table.pages[sequence.first_page + page] + input.layout.layer_offset;
          const int64_t element = (int64_t{kv_head} * input.layout.page_tokens + within) * d + pair;
          const T* const k = reinterpret_cast<const T*>(at) + element;
          const T* const v = reinterpret_cast<const T*>(at + input.layout.half_bytes) + element;
          x[0] = to_float(k[0]);
          x[1] = to_float(k[half]);
          x[2] = to_float(v[0]);
          x[3] = to_float(v[half]);
          if (sequence.keys_are_raw != 0) {
            const int64_t position = key + row;
            const float c = sequence.key_cos[position * sequence.key_cos_stride + pair];
            const float s = sequence.key_sin[position * sequence.key_sin_stride + pair];
            const float rotated = x[0] * c - x[1] * s;
            x[1] = x[1] * c + x[0] * s;
            x[0] = rotated;
          }
        }
        keys[row * (d + 1) + pair] = x[0];
        keys[row * (d + 1) + pair + half] = x[1];
        values[row * d + pair] = x[2];
        values[row * d + pair + half] = x[3];
      }
      __syncthreads();
      for (int i = tid; i < kRows * kTileKeys; i += kThreads) {
        const int row = i / kTileKeys;
        const int column = i % kTileKeys;
        float dot = 0;
        for (int c = 0; c < d; ++c) dot += queries[row * d + c] * keys[column * (d + 1) + c];
        const int last_seen = sequence.n_cached + min(first + row, n_rows - 1) / input.group;
        const bool is_seen = column < n_keys && key + column <= last_seen;
        scores[row * (kTileKeys + 1) + column] = is_seen ? dot : -INFINITY;
      }
      __syncthreads();
      if (tid < kRows) {
        float* const row = scores + tid * (kTileKeys + 1);
        float higher = largest[tid];
        for (int c = 0; c < kTileKeys; ++c) higher = fmaxf(higher, row[c]);
        const float base = higher == -INFINITY ? 0.0F : higher;
        const float shrink = exp2f(largest[tid] - base);
        float sum = sums[tid] * shrink;
        for (int c = 0; c < kTileKeys; ++c) {
          row[c] = exp2f(row[c] - base);
          sum += row[c];
        }
        largest[tid] = higher;
        sums[tid] = sum;
        shrinks[tid] = shrink;
      }
      __syncthreads();
      const float shrink = shrinks[own_row];
#pragma unroll
      for (int j = 0; j < kMostD / kLanesPerRow; ++j) {
        const int column = own_lane + j * kLanesPerRow;
        if (column >= d) continue;
        float sum = out[j] * shrink;
        for (int c = 0; c < kTileKeys; ++c) {
          sum += scores[own_row * (kTileKeys + 1) + c] * values[c * d + column];
        }
        out[j] = sum;
      }
    }

    const int r = first + own_row;
    if (r >= n_rows) continue;
    const int head = kv_head * input.group + r % input.group;
    T* const to = static_cast<T*>(input.out) +
                  (sequence.first_row + r / input.group) * input.out_stride + int64_t{head} * d;
    const float inverse = 1.0F / sums[own_row];
    if (input.log_sums != nullptr && own_lane == 0) {
      write_log_sum(input, sequence.first_row + r / input.group, head, largest[own_row],
                    sums[own_row]);
    }
#pragma unroll
    for (int j = 0; j < kMostD / kLanesPerRow; ++j) {
      const int column = own_lane + j * kLanesPerRow;
      if (column >= d) continue;
      if (parts.n_parts == 1) {
        to[column] = from_float<T>(out[j] * inverse);
      } else {
        parts.outputs[(slot + r) * d + column] = out[j];
        if (column == 0) parts.states[slot + r] = {largest[own_row], sums[own_row]};
      }
    }
  }
}

/// One element of a row's output from its parts, which other blocks have left: `slot` is the row's
/// in the first of them.
template <typename T>
__device__ inline void merge_column(const AttentionInput& input, const AttentionParts& parts,
                                    const SequenceRow& sequence, int kv_head, int64_t slot, int row,
                                    int column, int n_parts) {
  const int d = input.layout.head_dim;
  float largest = -INFINITY;
#pragma unroll 8
  for (int part = 0; part < n_parts; ++part) {
    largest = fmaxf(largest, __ldcg(parts.states + slot + int64_t{part} * parts.n_rows).x);
  }
  float sum = 0;
  float output = 0;
#pragma unroll 8
  for (int part = 0; part < n_parts; ++part) {
    const int64_t at = slot + int64_t{part} * parts.n_rows;
    const float2 state = __ldcg(parts.states + at);
    const float weight = exp2f(state.x - largest);
    sum += state.y * weight;
    output += __ldcg(parts.outputs + at * d + column) * weight;
  }
  const int head = kv_head * input.group + row % input.group;
  static_cast<T*>(input.out)[(sequence.first_row + row / input.group) * input.out_stride +
                             int64_t{head} * d + column] = from_float<T>(output * (1.0F / sum));
}

/// One block per row; parts in their order.
template <typename T>
__global__ void merge_kernel(AttentionInput input, AttentionParts parts) {
  wait_for_previous_kernel();
  const SequenceRow sequence = input.table.rows[blockIdx.y];
  const int kv_head = static_cast<int>(blockIdx.x) / parts.n_rows;
  const int row = static_cast<int>(blockIdx.x) % parts.n_rows;
  if (row >= sequence.n_tokens * input.group) return;
  const int64_t slot =
      (int64_t{blockIdx.y} * input.layout.n_kv_heads + kv_head) * parts.n_parts * parts.n_rows +
      row;
  // The block of rows that left the parts saw as many keys as its last row.
  const int last_row = min(row / kRows * kRows + kRows, sequence.n_tokens * input.group) - 1;
  const int n_seen = sequence.n_cached + last_row / input.group + 1;
  const int n_part_keys = keys_of_part(parts, sequence, input.layout.n_kv_heads);
  const int n_parts = (n_seen + n_part_keys - 1) / n_part_keys;
  for (int column = static_cast<int>(threadIdx.x); column < input.layout.head_dim;
       column += static_cast<int>(blockDim.x)) {
    merge_column<T>(input, parts, sequence, kv_head, slot, row, column, n_parts);
  }
}

template <typename T>
void launch_generic(Queue& queue, const AttentionInput& input, const AttentionParts& parts,
                    int64_t most_rows) {
  constexpr int64_t kMostBlocks = 65535;
  const dim3 grid(static_cast<unsigned>(input.n_sequences * parts.n_parts),
                  static_cast<unsigned>(input.layout.n_kv_heads),
                  static_cast<unsigned>(std::min(kMostBlocks, (most_rows + kRows - 1) / kRows)));
  const int d = input.layout.head_dim;
  const size_t shared = shared_floats(d) * sizeof(float);
  auto* kernel = &generic_attention_kernel<T, 64>;
  if (d > 64) kernel = &generic_attention_kernel<T, 128>;
  if (d > 128) kernel = &generic_attention_kernel<T, 256>;
  queue.launch(kernel, grid, kThreads, shared, input, parts);
}

}  // namespace

void launch_generic_attention(Queue& queue, const AttentionInput& input, DType dtype,
                              const AttentionParts& parts, int64_t most_rows) {
  if (dtype == DType::bf16) {
    launch_generic<Bf16>(queue, input, parts, most_rows);
  } else {
    launch_generic<float>(queue, input, parts, most_rows);
  }
}

void launch_attention_merge(Queue& queue, const AttentionInput& input, DType dtype,
                            const AttentionParts& parts) {
  if (parts.n_parts == 1) return;
  const dim3 grid(static_cast<unsigned>(input.layout.n_kv_heads * parts.n_rows),
                  static_cast<unsigned>(input.n_sequences));
  constexpr unsigned kMergeThreads = 128;
  if (dtype == DType::bf16) {
    queue.launch(merge_kernel<Bf16>, grid, kMergeThreads, 0, input, parts);
  } else {
    queue.launch(merge_kernel<float>, grid, kMergeThreads, 0, input, parts);
  }
}

}  // namespace okapi::cuda
