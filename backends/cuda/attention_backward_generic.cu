// The backward of attention without tensor cores: f32, and head sizes that the others do not take;
// and the products of each row of the output with its gradient, which all share.
#include <algorithm>

#include "backends/cuda/attention_backward.h"
#include "backends/cuda/device.cuh"

namespace okapi::cuda {

namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarp;
constexpr int kPerLane = 256 / kWarp;  // elements of a head that a lane has

/// A head's elements lane, lane + 32, ...; zeros past the end.
struct HeadRow {
  float at[kPerLane];
};
template <typename T>
__device__ inline HeadRow load_head(const T* from, int d) {
  HeadRow row;
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) {
    const int i = static_cast<int>(threadIdx.x) % kWarp + j * kWarp;
    row.at[j] = i < d ? to_float(from[i]) : 0.0F;
  }
  return row;
}
template <typename T>
__device__ inline void store_head(T* to, const HeadRow& row, int d, float scale) {
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) {
    const int i = static_cast<int>(threadIdx.x) % kWarp + j * kWarp;
    if (i < d) to[i] = from_float<T>(row.at[j] * scale);
  }
}
__device__ inline float dot(const HeadRow& a, const HeadRow& b) {
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) sum += a.at[j] * b.at[j];
  return warp_sum(sum);
}
__device__ inline void add_scaled(HeadRow& to, float factor, const HeadRow& x) {
#pragma unroll
  for (int j = 0; j < kPerLane; ++j) to.at[j] += factor * x.at[j];
}

/// One warp per row and head.
template <typename T>
__global__ void row_sums_kernel(AttentionGradient input) {
  wait_for_previous_kernel();
  const int64_t item = blockIdx.x * int64_t{kWarps} + threadIdx.x / kWarp;
  if (item >= input.n_rows * input.n_heads) return;
  const int64_t row = item / input.n_heads;
  const int64_t at = item % input.n_heads * input.head_dim;
  const HeadRow out =
      load_head(static_cast<const T*>(input.out) + row * input.out_stride + at, input.head_dim);
  const HeadRow gradient =
      load_head(static_cast<const T*>(input.out_gradient) + row * input.out_gradient_stride + at,
                input.head_dim);
  const float sum = dot(out, gradient);
  if (threadIdx.x % kWarp == 0) input.row_sums[item] = sum;
}

/// As many lanes per row and head as have eight elements each, a power of two; bf16 in whole
/// eights.
__global__ void row_sums_by_eight_kernel(AttentionGradient input, int lanes) {
  wait_for_previous_kernel();
  const int64_t thread = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  const int64_t item = thread / lanes;
  const int column = static_cast<int>(thread % lanes) * 8;
  const bool is_there = item < input.n_rows * input.n_heads && column < input.head_dim;
  float sum = 0;
  if (is_there) {
    const int64_t row = item / input.n_heads;
    const int64_t at = item % input.n_heads * input.head_dim + column;
    const Eight out = load_eight(static_cast<const Bf16*>(input.out) + row * input.out_stride + at);
    const Eight gradient = load_eight(static_cast<const Bf16*>(input.out_gradient) +
                                      row * input.out_gradient_stride + at);
#pragma unroll
    for (int e = 0; e < 8; ++e) sum += out.at[e] * gradient.at[e];
  }
  for (int step = lanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xFFFFFFFFU, sum, step);
  if (is_there && column == 0) input.row_sums[item] = sum;
}

/// One warp per query and head: its own gradient. Tokens along x, heads along y, sequences along z.
template <typename T>
__global__ void query_gradient_kernel(AttentionGradient input) {
  wait_for_previous_kernel();
  const SequenceRow sequence = input.sequences[blockIdx.z];
  const int query = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  if (query >= sequence.n_tokens) return;
  const int d = input.head_dim;
  const int head = static_cast<int>(blockIdx.y);
  const int kv_head = head / (input.n_heads / input.n_kv_heads);
  const int64_t row = sequence.first_row + query;
  const T* const rows = static_cast<const T*>(input.qkv);
  const HeadRow q = load_head(rows + row * input.row_stride + int64_t{head} * d, d);
  const HeadRow gradient = load_head(static_cast<const T*>(input.out_gradient) +
                                         row * input.out_gradient_stride + int64_t{head} * d,
                                     d);
  const float log_sum = input.log_sums[row * input.log_sums_stride + head];
  const float mean = input.row_sums[row * input.n_heads + head];
  HeadRow sum = {};
  for (int key = 0; key <= query; ++key) {
    const T* const at =
        rows + (sequence.first_row + key) * input.row_stride + int64_t{input.n_heads + kv_head} * d;
    const HeadRow k = load_head(at, d);
    const HeadRow v = load_head(at + int64_t{input.n_kv_heads} * d, d);
    const float weight = expf(dot(q, k) * sequence.score_scale - log_sum);
    add_scaled(sum, weight * (dot(gradient, v) - mean), k);
  }
  store_head(static_cast<T*>(input.qkv_gradient) + row * input.gradient_stride + int64_t{head} * d,
             sum, d, sequence.score_scale);
}

/// One warp per key and kv head: the gradients of key and value.
template <typename T>
__global__ void key_gradient_kernel(AttentionGradient input) {
  wait_for_previous_kernel();
  const SequenceRow sequence = input.sequences[blockIdx.z];
  const int key = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  if (key >= sequence.n_tokens) return;
  const int d = input.head_dim;
  const int kv_head = static_cast<int>(blockIdx.y);
  const int group = input.n_heads / input.n_kv_heads;
  const int64_t key_row = sequence.first_row + key;
  const int64_t key_at = int64_t{input.n_heads + kv_head} * d;
  const int64_t value_at = key_at + int64_t{input.n_kv_heads} * d;
  const T* const rows = static_cast<const T*>(input.qkv);
  const HeadRow k = load_head(rows + key_row * input.row_stride + key_at, d);
  const HeadRow v = load_head(rows + key_row * input.row_stride + value_at, d);
  HeadRow key_sum = {};
  HeadRow value_sum = {};
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    for (int query = key; query < sequence.n_tokens; ++query) {
      const int64_t row = sequence.first_row + query;
      const HeadRow q = load_head(rows + row * input.row_stride + int64_t{head} * d, d);
      const HeadRow gradient = load_head(static_cast<const T*>(input.out_gradient) +
                                             row * input.out_gradient_stride + int64_t{head} * d,
                                         d);
      const float weight = expf(dot(q, k) * sequence.score_scale -
                                input.log_sums[row * input.log_sums_stride + head]);
      const float mean = input.row_sums[row * input.n_heads + head];
      add_scaled(key_sum, weight * (dot(gradient, v) - mean), q);
      add_scaled(value_sum, weight, gradient);
    }
  }
  T* const to = static_cast<T*>(input.qkv_gradient) + key_row * input.gradient_stride;
  store_head(to + key_at, key_sum, d, sequence.score_scale);
  store_head(to + value_at, value_sum, d, 1.0F);
}

template <typename T>
void launch_passes(Queue& queue, const AttentionGradient& input) {
  const auto n_blocks = static_cast<unsigned>((input.most_tokens + kWarps - 1) / kWarps);
  const auto n_sequences = static_cast<unsigned>(input.n_sequences);
  queue.launch(query_gradient_kernel<T>,
               dim3(n_blocks, static_cast<unsigned>(input.n_heads), n_sequences), kThreads, 0,
               input);
  queue.launch(key_gradient_kernel<T>,
               dim3(n_blocks, static_cast<unsigned>(input.n_kv_heads), n_sequences), kThreads, 0,
               input);
}

}  // namespace

void launch_row_sums(Queue& queue, const AttentionGradient& input, DType dtype) {
  const auto blocks_for = [&](int64_t per_block) {
    return static_cast<unsigned>((input.n_rows * input.n_heads + per_block - 1) / per_block);
  };
  const auto is_aligned = [](const void* data, int64_t stride) {
    return reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride % 8 == 0;
  };
  if (dtype == DType::bf16 && input.head_dim % 8 == 0 && is_aligned(input.out, input.out_stride) &&
      is_aligned(input.out_gradient, input.out_gradient_stride)) {
    int lanes = 1;
    while (lanes * 8 < input.head_dim) lanes *= 2;
    queue.launch(row_sums_by_eight_kernel, blocks_for(kThreads / lanes), kThreads, 0, input, lanes);
    return;
  }
  auto* kernel = &row_sums_kernel<float>;
  if (dtype == DType::bf16) kernel = &row_sums_kernel<Bf16>;
  queue.launch(kernel, blocks_for(kWarps), kThreads, 0, input);
}

void launch_generic_attention_backward(Queue& queue, const AttentionGradient& input, DType dtype) {
  launch_row_sums(queue, input, dtype);
  if (dtype == DType::bf16) {
    launch_passes<Bf16>(queue, input);
  } else {
    launch_passes<float>(queue, input);
  }
}

}  // namespace okapi::cuda
