// The loss of a training batch and its gradients, without the logits of more than a chunk of
// tokens.
//
// A chunk's logits are one product, in f32. A block then takes a row: the largest and the sum of
// exponentials in one pass (Milakov and Gimelshein 2018, arXiv:1805.02867), and in a second one,
// from the L2 cache, the gradient in the place of the logits, in the dtype of activations. Two
// products more carry it to the hidden states and to the weight.
#include <algorithm>
#include <type_traits>
#include <vector>

#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"
#include "backends/training_checks.h"

namespace okapi::cuda {

namespace {

constexpr int kThreads = 256;  // of a block, at most

/// A token that has a target.
struct LossRow {
  int32_t token;  ///< of the call
  int32_t target;
  float weight;
};

/// Rows of a matrix by the tokens of loss rows, one way or the other.
template <typename Word, bool kScatters>
__global__ void move_rows_kernel(const Word* from, Word* to, const LossRow* rows, int64_t n,
                                 int64_t from_stride, int64_t to_stride) {
  wait_for_previous_kernel();
  const int64_t packed = blockIdx.x;
  const int64_t token = rows[packed].token;
  const Word* const source = from + (kScatters ? packed : token) * from_stride;
  Word* const target = to + (kScatters ? token : packed) * to_stride;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) target[i] = source[i];
}

/// Logits [rows, n] become their gradients, of type T from the beginning of each row on, if they
/// are wanted. `stride` is a multiple of eight floats, so that pieces of eight are aligned.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    loss_rows_kernel(float* logits, int64_t stride, int64_t n, const LossRow* rows, double* losses,
                     float* nll, int wants_gradient) {
  __shared__ float shared[kWarp];
  wait_for_previous_kernel();
  const LossRow given = rows[blockIdx.x];
  float* const row = logits + blockIdx.x * stride;
  const float target_logit = row[given.target];
  const int step = static_cast<int>(blockDim.x) * 8;

  float largest = -INFINITY;
  float sum = 0;
  for (int64_t i = threadIdx.x * int64_t{8}; i < n; i += step) {
    Eight x = load_eight(row + i);
    float higher = largest;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      if (i + e >= n) x.at[e] = -INFINITY;
      higher = fmaxf(higher, x.at[e]);
    }
    // What is not a number is lost in the maximum, and found in the sum.
    if (higher > largest) {
      sum *= expf(largest - higher);
      largest = higher;
    }
#pragma unroll
    for (int e = 0; e < 8; ++e) sum += i + e < n ? expf(x.at[e] - largest) : 0.0F;
  }
  const float maximum = block_max(largest, shared);
  if (sum != 0) sum *= expf(largest - maximum);
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) {
    const double lost = static_cast<double>(maximum) + log(static_cast<double>(sum)) -
                        static_cast<double>(target_logit);
    losses[blockIdx.x] = given.weight * lost;
    if (nll != nullptr) nll[given.token] = static_cast<float>(lost);
  }
  if (wants_gradient == 0) return;

  const float scale = given.weight / sum;
  T* const gradient = reinterpret_cast<T*>(row);
  for (int64_t first = 0; first < n; first += step) {
    const int64_t i = first + threadIdx.x * int64_t{8};
    Eight x = {};
    if (i < n) {
      x = load_eight(row + i);
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        x.at[e] = expf(x.at[e] - maximum) * scale;
        if (i + e == given.target) x.at[e] -= given.weight;
        if (i + e >= n) x.at[e] = 0;
      }
    }
    // Narrower elements reach no further than what has been read by all.
    if constexpr (sizeof(T) < sizeof(float)) __syncthreads();
    if (i < n) store_eight(gradient + i, x);
  }
}

}  // namespace

double CudaStream::cross_entropy(ConstTensorView hidden, const PreparedWeight& weight,
                                 std::span<const int32_t> targets, std::span<const float> weights,
                                 TensorView nll, TensorView hidden_gradient,
                                 TensorView weight_gradient) {
  const CudaWeight& w = cuda_weight(weight);
  const auto n_tokens = static_cast<int64_t>(targets.size());
  const int64_t c = w.columns;
  const int64_t v = w.rows;
  check_matrix(hidden, n_tokens, c, "cross_entropy: hidden");
  check_loss_weights(weights, targets.size());
  if (!nll.empty()) check_vector(nll, n_tokens, DType::f32, "cross_entropy: nll");
  if (!hidden_gradient.empty()) {
    check_matrix(hidden_gradient, n_tokens, c, "cross_entropy: hidden_gradient");
    check_same_dtype(hidden, hidden_gradient, "cross_entropy: hidden and hidden_gradient");
  }
  if (!weight_gradient.empty()) {
    check_matrix(weight_gradient, v, c, "cross_entropy: weight_gradient");
    check_gradient_dtype(weight_gradient, "cross_entropy: weight_gradient");
  }
  check_targets(targets, v, "cross_entropy");

  std::vector<LossRow> rows;
  rows.reserve(targets.size());
  for (size_t t = 0; t < targets.size(); ++t) {
    if (targets[t] < 0) continue;
    rows.push_back({static_cast<int32_t>(t), targets[t], weights.empty() ? 1.0F : weights[t]});
  }
  const auto n_trained = static_cast<int64_t>(rows.size());
  const bool is_dense = n_trained == n_tokens;
  const CurrentDevice current(shared_->device);
  begin_training();
  const size_t element = size_of(hidden.dtype);
  if (!is_dense) {
    if (!nll.empty()) zero(nll.data, static_cast<size_t>(n_tokens) * sizeof(float));
    if (!hidden_gradient.empty()) {
      check(cudaMemset2DAsync(
                hidden_gradient.data, static_cast<size_t>(hidden_gradient.strides[0]) * element, 0,
                static_cast<size_t>(c) * element, static_cast<size_t>(n_tokens), queue_.stream()),
            "cudaMemset2DAsync");
    }
  }
  if (n_trained == 0) return 0;

  constexpr int64_t kPiece = 8;
  const int64_t ldl = (v + kPiece - 1) / kPiece * kPiece;
  constexpr int64_t kFewestTokens = 64;
  const int64_t chunk = std::min(n_trained, std::max(kFewestTokens, kLogitsPerChunk / ldl));
  auto* const logits =
      static_cast<float*>(scratch(logits_, static_cast<size_t>(chunk * ldl) * sizeof(float)));
  auto* const losses =
      static_cast<double*>(scratch(losses_, static_cast<size_t>(n_trained) * sizeof(double)));
  std::byte* packed = nullptr;
  if (!is_dense) {
    packed =
        static_cast<std::byte*>(scratch(token_rows_, static_cast<size_t>(2 * chunk * c) * element));
  }
  const auto* const device_rows =
      static_cast<const LossRow*>(queue_.stage(rows.data(), rows.size() * sizeof(LossRow)));
  const bool wants_gradient = !hidden_gradient.empty() || !weight_gradient.empty();

  for (int64_t first = 0; first < n_trained; first += chunk) {
    const int64_t m = std::min(chunk, n_trained - first);
    const LossRow* const chunk_rows = device_rows + first;
    const auto rows_of = [&](const auto& view) {  // of a dense batch
      using Byte = std::conditional_t<std::is_same_v<std::decay_t<decltype(view)>, TensorView>,
                                      std::byte, const std::byte>;
      auto part = view;
      part.data =
          static_cast<Byte*>(view.data) + static_cast<size_t>(first * view.strides[0]) * element;
      part.shape[0] = m;
      return part;
    };
    ConstTensorView x = is_dense ? rows_of(hidden) : ConstTensorView(packed, hidden.dtype, {m, c});
    if (!is_dense) {
      const auto gather = [&](auto word) {
        using Word = decltype(word);
        queue_.launch(move_rows_kernel<Word, false>, static_cast<unsigned>(m), kThreads, 0,
                      static_cast<const Word*>(hidden.data), reinterpret_cast<Word*>(packed),
                      chunk_rows, c, hidden.strides[0], c);
      };
      if (element == sizeof(uint16_t)) gather(uint16_t());
      if (element == sizeof(uint32_t)) gather(uint32_t());
    }

    TensorView logit_view(logits, DType::f32, {m, v});
    logit_view.strides[0] = ldl;
    multiply_matrices(x, false, w.view(), true, 1.0F, 0.0F, logit_view);
    auto* kernel = &loss_rows_kernel<float>;
    if (hidden.dtype == DType::bf16) kernel = &loss_rows_kernel<Bf16>;
    const int64_t warps = (ldl / kPiece + kWarp - 1) / kWarp;
    const auto threads = static_cast<unsigned>(std::min<int64_t>(kThreads, warps * kWarp));
    queue_.launch(kernel, static_cast<unsigned>(m), threads, 0, logits, ldl, v, chunk_rows,
                  losses + first, static_cast<float*>(nll.data), wants_gradient ? 1 : 0);
    if (!wants_gradient) continue;

    ConstTensorView gradient(logits, hidden.dtype, {m, v});
    gradient.strides[0] = ldl * static_cast<int64_t>(sizeof(float) / element);
    if (!hidden_gradient.empty()) {
      std::byte* const packed_gradient = packed + static_cast<size_t>(chunk * c) * element;
      const TensorView to =
          is_dense ? rows_of(hidden_gradient) : TensorView(packed_gradient, hidden.dtype, {m, c});
      multiply_matrices(gradient, false, w.view(), false, 1.0F, 0.0F, to);
      const auto scatter = [&](auto word) {
        using Word = decltype(word);
        queue_.launch(move_rows_kernel<Word, true>, static_cast<unsigned>(m), kThreads, 0,
                      reinterpret_cast<const Word*>(packed_gradient),
                      static_cast<Word*>(hidden_gradient.data), chunk_rows, c, c,
                      hidden_gradient.strides[0]);
      };
      if (!is_dense && element == sizeof(uint16_t)) scatter(uint16_t());
      if (!is_dense && element == sizeof(uint32_t)) scatter(uint32_t());
    }
    if (!weight_gradient.empty()) {
      multiply_matrices(gradient, true, x, false, 1.0F, 1.0F, weight_gradient);
    }
  }
  return sum_of_doubles(losses, n_trained);
}

}  // namespace okapi::cuda
