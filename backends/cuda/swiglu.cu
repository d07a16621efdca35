// The gate of the feed-forward block (Shazeer 2020, arXiv:2002.05202).
#include <algorithm>

#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"
#include "backends/cuda/gate.cuh"

namespace okapi::cuda {

namespace {

template <typename T>
__global__ void swiglu_kernel(const T* gate_up, T* out, int64_t n, int64_t in_stride,
                              int64_t out_stride) {
  wait_for_previous_kernel();
  const T* const gate = gate_up + blockIdx.y * in_stride;
  T* const to = out + blockIdx.y * out_stride;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x) {
    to[i] = from_float<T>(silu(to_float(gate[i])) * to_float(gate[n + i]));
  }
}

template <typename T>
__global__ void swiglu_by_eight_kernel(const T* gate_up, T* out, int64_t n, int64_t in_stride,
                                       int64_t out_stride) {
  wait_for_previous_kernel();
  const int64_t i = (blockIdx.x * int64_t{blockDim.x} + threadIdx.x) * 8;
  if (i >= n) return;
  const T* const gate = gate_up + blockIdx.y * in_stride;
  const Eight g = load_eight(gate + i);
  const Eight u = load_eight(gate + n + i);
  Eight result;
#pragma unroll
  for (int j = 0; j < 8; ++j) result.at[j] = silu(g.at[j]) * u.at[j];
  store_eight(out + blockIdx.y * out_stride + i, result);
}

/// d silu(g) = sigma (1 + g (1 - sigma)); far out sigma is 0 or 1, and nothing overflows.
__device__ inline void gate_gradient(float gate, float up, float gradient, float& gate_to,
                                     float& up_to) {
  const float sigma = 1.0F / (1.0F + expf(-gate));
  gate_to = gradient * up * sigma * (1.0F + gate * (1.0F - sigma));
  up_to = gradient * gate * sigma;
}

/// kWidth elements a thread; `to` may be gate_up.
template <typename T, int kWidth>
__global__ void swiglu_backward_kernel(const T* gate_up, const T* out_gradient, T* to, int64_t n,
                                       int64_t in_stride, int64_t out_stride, int64_t to_stride) {
  wait_for_previous_kernel();
  const int64_t i = (blockIdx.x * int64_t{blockDim.x} + threadIdx.x) * kWidth;
  if (i >= n) return;
  const T* const gate = gate_up + blockIdx.y * in_stride + i;
  const T* const gradient = out_gradient + blockIdx.y * out_stride + i;
  T* const target = to + blockIdx.y * to_stride + i;
  if constexpr (kWidth == 8) {
    Eight g = load_eight(gate);
    Eight u = load_eight(gate + n);
    const Eight d = load_eight(gradient);
#pragma unroll
    for (int j = 0; j < 8; ++j) gate_gradient(g.at[j], u.at[j], d.at[j], g.at[j], u.at[j]);
    store_eight(target, g);
    store_eight(target + n, u);
  } else {
    float g = 0;
    float u = 0;
    gate_gradient(to_float(gate[0]), to_float(gate[n]), to_float(gradient[0]), g, u);
    target[0] = from_float<T>(g);
    target[n] = from_float<T>(u);
  }
}

constexpr int64_t kThreads = 256;
constexpr int64_t kMostTokens = 32768;  // of one launch: the grid's second size

}  // namespace

void CudaStream::swiglu(ConstTensorView gate_up, TensorView out) {
  const int64_t n_tokens = out.shape[0];
  const int64_t n = out.shape[1];
  check_matrix(out, n_tokens, n, "swiglu: out");
  check_matrix(gate_up, n_tokens, 2 * n, "swiglu: gate_up");
  check_same_dtype(gate_up, out, "swiglu: gate_up and out");
  if (n_tokens == 0) return;

  const CurrentDevice current(shared_->device);
  // The product before this one gates its result as it goes.
  if (waiting_product_ && n_tokens <= kFewRows && waiting_product_->out.data == gate_up.data &&
      waiting_product_->out.dtype == DType::bf16 && waiting_product_->out.shape[0] == n_tokens &&
      waiting_product_->out.shape[1] == 2 * n && waiting_product_->residual.empty() &&
      waiting_product_->x.data != out.data) {
    waiting_product_->gated = out;
    return;
  }
  begin(n_tokens);
  const bool by_eight = n % 8 == 0 && is_aligned(gate_up) && is_aligned(out);
  const int64_t per_block = by_eight ? kThreads * 8 : kThreads;
  const auto run = [&](const auto* from, auto* to) {
    using T = std::decay_t<decltype(*to)>;
    auto* kernel = &swiglu_kernel<T>;
    if (by_eight) kernel = &swiglu_by_eight_kernel<T>;
    for (int64_t token = 0; token < n_tokens; token += kMostTokens) {
      const dim3 grid(static_cast<unsigned>((n + per_block - 1) / per_block),
                      static_cast<unsigned>(std::min(kMostTokens, n_tokens - token)));
      queue_.launch(kernel, grid, static_cast<unsigned>(kThreads), 0,
                    from + token * gate_up.strides[0], to + token * out.strides[0], n,
                    gate_up.strides[0], out.strides[0]);
    }
  };
  if (out.dtype == DType::bf16) {
    run(static_cast<const Bf16*>(gate_up.data), static_cast<Bf16*>(out.data));
  } else {
    run(static_cast<const float*>(gate_up.data), static_cast<float*>(out.data));
  }
}

void CudaStream::swiglu_backward(ConstTensorView gate_up, ConstTensorView out_gradient,
                                 TensorView gate_up_gradient) {
  const int64_t n_tokens = out_gradient.shape[0];
  const int64_t n = out_gradient.shape[1];
  check_matrix(out_gradient, n_tokens, n, "swiglu_backward: out_gradient");
  check_matrix(gate_up, n_tokens, 2 * n, "swiglu_backward: gate_up");
  check_matrix(gate_up_gradient, n_tokens, 2 * n, "swiglu_backward: gate_up_gradient");
  check_same_dtype(gate_up, out_gradient, "swiglu_backward: gate_up and out_gradient");
  check_same_dtype(gate_up, gate_up_gradient, "swiglu_backward: gate_up and gate_up_gradient");
  if (n_tokens == 0) return;

  const CurrentDevice current(shared_->device);
  begin_training();
  const bool by_eight =
      n % 8 == 0 && is_aligned(gate_up) && is_aligned(out_gradient) && is_aligned(gate_up_gradient);
  const int64_t per_block = by_eight ? kThreads * 8 : kThreads;
  const auto run = [&](const auto* from, const auto* gradient, auto* to) {
    using T = std::decay_t<decltype(*to)>;
    auto* kernel = &swiglu_backward_kernel<T, 1>;
    if (by_eight) kernel = &swiglu_backward_kernel<T, 8>;
    for (int64_t token = 0; token < n_tokens; token += kMostTokens) {
      const dim3 grid(static_cast<unsigned>((n + per_block - 1) / per_block),
                      static_cast<unsigned>(std::min(kMostTokens, n_tokens - token)));
      queue_.launch(kernel, grid, static_cast<unsigned>(kThreads), 0,
                    from + token * gate_up.strides[0], gradient + token * out_gradient.strides[0],
                    to + token * gate_up_gradient.strides[0], n, gate_up.strides[0],
                    out_gradient.strides[0], gate_up_gradient.strides[0]);
    }
  };
  if (gate_up.dtype == DType::bf16) {
    run(static_cast<const Bf16*>(gate_up.data), static_cast<const Bf16*>(out_gradient.data),
        static_cast<Bf16*>(gate_up_gradient.data));
  } else {
    run(static_cast<const float*>(gate_up.data), static_cast<const float*>(out_gradient.data),
        static_cast<float*>(gate_up_gradient.data));
  }
}

}  // namespace okapi::cuda
