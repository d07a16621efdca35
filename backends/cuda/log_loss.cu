// Negative log-likelihood of given tokens, without ever holding all logits.
//
// The vocabulary is walked in blocks; each token keeps a running maximum and sum of exponentials
// (Milakov and Gimelshein 2018, arXiv:1805.02867) and picks up its target's logit as it passes by.
#include <algorithm>

#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"

namespace okapi::cuda {

namespace {

constexpr int64_t kTokensPerChunk = 2048;
constexpr int64_t kVocabularyPerBlock = 8192;  // logits of one block: 64 MiB

struct RowState {
  float maximum;
  float sum;
  float target_logit;
};

__global__ void fold_kernel(const float* logits, int64_t stride, int64_t begin, int64_t n,
                            const int32_t* targets, RowState* states, int is_first) {
  __shared__ float shared[kWarp];
  wait_for_previous_kernel();
  const float* const row = logits + blockIdx.x * stride;
  float largest = -INFINITY;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) largest = fmaxf(largest, row[i]);
  largest = block_max(largest, shared);
  float sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += expf(row[i] - largest);
  sum = block_sum(sum, shared);
  if (threadIdx.x != 0) return;

  RowState state = is_first != 0 ? RowState{-INFINITY, 0, 0} : states[blockIdx.x];
  const float higher = fmaxf(state.maximum, largest);
  state.sum = state.sum * expf(state.maximum - higher) + sum * expf(largest - higher);
  state.maximum = higher;
  const int64_t target = targets[blockIdx.x];
  if (target >= begin && target < begin + n) state.target_logit = row[target - begin];
  states[blockIdx.x] = state;
}

__global__ void finish_kernel(const RowState* states, const int32_t* targets, float* nll,
                              int64_t n) {
  wait_for_previous_kernel();
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= n) return;
  const RowState state = states[i];
  nll[i] = targets[i] < 0 ? 0.0F : (state.maximum - state.target_logit) + logf(state.sum);
}

}  // namespace

void CudaStream::log_loss(ConstTensorView hidden, const PreparedWeight& weight,
                          std::span<const int32_t> targets, TensorView nll) {
  const CudaWeight& w = cuda_weight(weight);
  const auto n_tokens = static_cast<int64_t>(targets.size());
  check_matrix(hidden, n_tokens, w.columns, "log_loss: hidden");
  check_vector(nll, n_tokens, DType::f32, "log_loss: nll");
  check_targets(targets, w.rows, "log_loss");
  if (n_tokens == 0) return;

  const CurrentDevice current(shared_->device);
  begin(n_tokens);
  const int64_t chunk = std::min(n_tokens, kTokensPerChunk);
  const int64_t block = std::min(w.rows, kVocabularyPerBlock);
  auto* const states =
      static_cast<RowState*>(scratch(row_states_, static_cast<size_t>(chunk) * sizeof(RowState)));
  auto* const logits =
      static_cast<float*>(scratch(logits_, static_cast<size_t>(chunk * block) * sizeof(float)));
  constexpr unsigned kThreads = 256;

  for (int64_t first = 0; first < n_tokens; first += chunk) {
    const int64_t m = std::min(chunk, n_tokens - first);
    ConstTensorView rows = hidden;
    rows.data = static_cast<const std::byte*>(hidden.data) +
                static_cast<size_t>(first * hidden.strides[0]) * size_of(hidden.dtype);
    rows.shape[0] = m;
    const auto* const wanted = static_cast<const int32_t*>(
        queue_.stage(targets.data() + first, static_cast<size_t>(m) * sizeof(int32_t)));
    for (int64_t begin = 0; begin < w.rows; begin += block) {
      const int64_t n = std::min(block, w.rows - begin);
      multiply(rows, w, begin, TensorView(logits, DType::f32, {m, n}));
      queue_.launch(fold_kernel, static_cast<unsigned>(m), kThreads, 0, logits, n, begin, n, wanted,
                    states, begin == 0 ? 1 : 0);
    }
    queue_.launch(finish_kernel, static_cast<unsigned>((m + kThreads - 1) / kThreads), kThreads, 0,
                  states, wanted, static_cast<float*>(nll.data) + first, m);
  }
}

}  // namespace okapi::cuda
