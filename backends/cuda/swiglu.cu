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

}  // namespace

void CudaStream::swiglu(ConstTensorView gate_up, TensorView out) {
  const int64_t n_tokens = out.shape[0];
  const int64_t n = out.shape[1];
  check_matrix(out, n_tokens, n, "swiglu: out");
  check_matrix(gate_up, n_tokens, 2 * n, "swiglu: gate_up");
  check_same_dtype(gate_up, out, "swiglu: gate_up and out");
  if (n_tokens == 0) return;

  const CurrentDevice current(shared_->device);
  begin(n_tokens);
  if (queue_.is_collecting() && out.dtype == DType::bf16 && n % 8 == 0 && is_aligned(gate_up) &&
      is_aligned(out) && fits_fused(n_tokens, n, shared_->size)) {
    FewRowsProduct rows;
    rows.x = gate_up;
    rows.from = RowsFrom::gate;
    rows.rows = out;
    rows.k = n;
    waiting_rows_ = rows;
    return;
  }
  gate_now(gate_up, out);
}

void CudaStream::gate_now(ConstTensorView gate_up, TensorView out) {
  const int64_t n_tokens = out.shape[0];
  const int64_t n = out.shape[1];
  constexpr int64_t kThreads = 256;
  constexpr int64_t kMostTokens = 32768;  // of one launch: the grid's second size
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

}  // namespace okapi::cuda
