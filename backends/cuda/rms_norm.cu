// Residual addition and root-mean-square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467).
#include <algorithm>

#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"

namespace okapi::cuda {

namespace {

/// One block per row. The sum is stored before its square is taken, so that the norm is that of
/// what the next layer reads.
template <typename T>
__global__ void add_rms_norm_kernel(T* residual, const T* delta, const float* weight, T* out,
                                    int64_t n, int64_t residual_stride, int64_t delta_stride,
                                    int64_t out_stride, float epsilon) {
  __shared__ float shared[kWarp];
  wait_for_previous_kernel();
  T* const row = residual + blockIdx.x * residual_stride;
  const T* const added = delta + blockIdx.x * delta_stride;
  T* const to = out + blockIdx.x * out_stride;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    if (delta != nullptr) row[i] = from_float<T>(to_float(row[i]) + to_float(added[i]));
    const float x = to_float(row[i]);
    squares += x * x;
  }
  const float scale = rsqrtf(block_sum(squares, shared) / static_cast<float>(n) + epsilon);
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    to[i] = from_float<T>(to_float(row[i]) * scale * weight[i]);
  }
}

/// Rows of up to kHeld * 8 elements per thread, which stay in registers between the two passes.
/// Where a warp has a row, blocks take several, along y.
template <typename T, int kHeld>
__global__ void add_rms_norm_by_eight_kernel(T* residual, const T* delta, const float* weight,
                                             T* out, int64_t n, int64_t n_rows,
                                             int64_t residual_stride, int64_t delta_stride,
                                             int64_t out_stride, float epsilon) {
  __shared__ float shared[kWarp];
  const int64_t step = int64_t{blockDim.x} * 8;
  const int64_t first = int64_t{threadIdx.x} * 8;
  wait_for_previous_kernel();
  const int64_t index = blockIdx.x * int64_t{blockDim.y} + threadIdx.y;
  if (index >= n_rows) return;  // whole warps: none that a sum waits for
  T* const row = residual + index * residual_stride;
  Eight held[kHeld];
  float squares = 0;
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int64_t i = first + j * step;
    if (i >= n) continue;
    held[j] = load_eight(row + i);
    if (delta != nullptr) {
      const Eight added = load_eight(delta + index * delta_stride + i);
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        held[j].at[e] = to_float(from_float<T>(held[j].at[e] + added.at[e]));
      }
      store_eight(row + i, held[j]);
    }
#pragma unroll
    for (int e = 0; e < 8; ++e) squares += held[j].at[e] * held[j].at[e];
  }
  squares = blockDim.x == kWarp ? warp_sum(squares) : block_sum(squares, shared);
  const float scale = rsqrtf(squares / static_cast<float>(n) + epsilon);
  T* const to = out + index * out_stride;
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int64_t i = first + j * step;
    if (i >= n) continue;
    const Eight gain = load_eight(weight + i);
#pragma unroll
    for (int e = 0; e < 8; ++e) held[j].at[e] *= scale * gain.at[e];
    store_eight(to + i, held[j]);
  }
}

}  // namespace

void CudaStream::add_rms_norm(TensorView residual, ConstTensorView delta, ConstTensorView weight,
                              float epsilon, TensorView out) {
  const int64_t n_tokens = residual.shape[0];
  const int64_t n = residual.shape[1];
  check_matrix(residual, n_tokens, n, "add_rms_norm: residual");
  check_matrix(out, n_tokens, n, "add_rms_norm: out");
  check_vector(weight, n, DType::f32, "add_rms_norm: weight");
  check_same_dtype(residual, out, "add_rms_norm: residual and out");
  if (!delta.empty()) {
    check_matrix(delta, n_tokens, n, "add_rms_norm: delta");
    check_same_dtype(residual, delta, "add_rms_norm: residual and delta");
  }
  if (n_tokens == 0) return;

  const CurrentDevice current(shared_->device);
  const bool is_fused = n_tokens <= kMostFusedRows && residual.dtype == DType::bf16 && n % 8 == 0 &&
                        n <= kMostNormedColumns && is_aligned(residual) && is_aligned(out) &&
                        is_aligned(weight) && fits_fused(n_tokens, n, shared_->size);
  // The product before this one adds to the residual as it goes.
  if ((is_fused || n_tokens > kFewRows) && waiting_product_ && !delta.empty() &&
      waiting_product_->out.data == delta.data && waiting_product_->out.dtype == residual.dtype &&
      waiting_product_->out.shape[0] == n_tokens && waiting_product_->out.shape[1] == n &&
      waiting_product_->x.data != residual.data && waiting_product_->gated.empty()) {
    waiting_product_->residual = residual;
    delta = ConstTensorView();
  }
  begin(n_tokens);
  if (queue_.is_collecting() && is_fused && delta.empty()) {
    FewRowsProduct rows;
    rows.x = residual;
    rows.from = RowsFrom::norm;
    rows.gain = weight.data;
    rows.epsilon = epsilon;
    rows.rows = out;
    rows.k = n;
    waiting_rows_ = rows;
    return;
  }
  norm_now(residual, delta, weight, epsilon, out);
}

void CudaStream::norm_now(TensorView residual, ConstTensorView delta, ConstTensorView weight,
                          float epsilon, TensorView out) {
  const int64_t n_tokens = residual.shape[0];
  const int64_t n = residual.shape[1];
  const bool by_eight = n % 8 == 0 && is_aligned(residual) && is_aligned(out) &&
                        is_aligned(weight) && (delta.empty() || is_aligned(delta));
  constexpr int64_t kHeld = 4;
  // The same for any number of rows, and as products do it that norm their rows themselves: the
  // order of the sum is part of the result.
  constexpr int64_t most_threads = 256;
  const int64_t wanted = by_eight ? (n + 7) / 8 : n;
  int64_t threads = std::clamp<int64_t>((wanted + kWarp - 1) / kWarp * kWarp, kWarp, most_threads);
  if (by_eight && threads * 8 * kHeld < n) {
    threads = std::min<int64_t>(1024, (n / (8 * kHeld) + kWarp) / kWarp * kWarp);
  }
  const bool is_held = by_eight && threads * 8 * kHeld >= n;
  const auto run = [&](auto* rows, const auto* added, auto* to) {
    using T = std::decay_t<decltype(*to)>;
    if (is_held) {
      const int64_t rows_at_once = threads == kWarp ? 8 : 1;
      queue_.launch(add_rms_norm_by_eight_kernel<T, kHeld>,
                    static_cast<unsigned>((n_tokens + rows_at_once - 1) / rows_at_once),
                    dim3(static_cast<unsigned>(threads), static_cast<unsigned>(rows_at_once)), 0,
                    rows, added, static_cast<const float*>(weight.data), to, n, n_tokens,
                    residual.strides[0], delta.strides[0], out.strides[0], epsilon);
      return;
    }
    queue_.launch(add_rms_norm_kernel<T>, static_cast<unsigned>(n_tokens),
                  static_cast<unsigned>(threads), 0, rows, added,
                  static_cast<const float*>(weight.data), to, n, residual.strides[0],
                  delta.strides[0], out.strides[0], epsilon);
  };
  if (residual.dtype == DType::bf16) {
    run(static_cast<Bf16*>(residual.data), static_cast<const Bf16*>(delta.data),
        static_cast<Bf16*>(out.data));
  } else {
    run(static_cast<float*>(residual.data), static_cast<const float*>(delta.data),
        static_cast<float*>(out.data));
  }
}

}  // namespace okapi::cuda
