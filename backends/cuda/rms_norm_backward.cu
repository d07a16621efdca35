// The backward of root-mean-square normalisation. With s = 1 / rms, of out = x s w:
//
//   dx_i = s (w_i g_i) - x_i s^3 / n * sum_j w_j g_j x_j        dw_i = sum over rows of g_i x_i s
//
// A row is held by a warp, or by a block where it is long. Rows are dealt to blocks in a fixed way,
// each block sums the weight's gradient over its own, and the blocks' sums are added in their
// order.
#include <algorithm>
#include <string>
#include <type_traits>

#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"

namespace okapi::cuda {

namespace {

constexpr int kWidth = 8;     // consecutive elements of a thread
constexpr int kMostHeld = 4;  // such pieces at most

struct NormBackward {
  const void* residual;
  const float* weight;
  const void* out_gradient;
  void* residual_gradient;
  float* sums;  ///< [blocks, n] of the weight's gradient; null: not wanted
  int64_t n_tokens;
  int64_t n;
  int64_t residual_stride;
  int64_t out_stride;
  int64_t gradient_stride;
  float epsilon;
};

template <bool kAligned, typename T>
__device__ inline Eight load_piece(const T* from, int64_t i, int64_t n) {
  if constexpr (kAligned) {
    return load_eight(from + i);
  } else {
    Eight x;
#pragma unroll
    for (int e = 0; e < kWidth; ++e) x.at[e] = i + e < n ? to_float(from[i + e]) : 0.0F;
    return x;
  }
}

template <bool kAligned, typename T>
__device__ inline void store_piece(T* to, int64_t i, int64_t n, const Eight& x) {
  if constexpr (kAligned) {
    store_eight(to + i, x);
  } else {
#pragma unroll
    for (int e = 0; e < kWidth; ++e) {
      if (i + e < n) to[i + e] = from_float<T>(x.at[e]);
    }
  }
}

/// Both sums over all threads of a block, in a fixed order.
__device__ inline void block_sums(float& a, float& b, float2* shared) {
  a = warp_sum(a);
  b = warp_sum(b);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = {a, b};
  __syncthreads();
  a = b = 0;
  for (unsigned i = 0; i < blockDim.x / kWarp; ++i) {
    a += shared[i].x;
    b += shared[i].y;
  }
}

/// A warp has a row, or all of the block.
template <typename T, bool kAligned, bool kByWarp, int kHeld>
__global__ void norm_backward_kernel(NormBackward a) {
  extern __shared__ float row_sums[];  // [rows at once, n] where a warp has a row
  __shared__ float2 shared[kWarp];
  wait_for_previous_kernel();
  const int lanes = kByWarp ? kWarp : static_cast<int>(blockDim.x);
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const int row_of_block = static_cast<int>(threadIdx.x) / lanes;
  const int rows_at_once = static_cast<int>(blockDim.x) / lanes;
  const int64_t step = int64_t{lanes} * kWidth;
  Eight sums[kHeld];
#pragma unroll
  for (int j = 0; j < kHeld; ++j) sums[j] = {};

  for (int64_t row = int64_t{blockIdx.x} * rows_at_once + row_of_block; row < a.n_tokens;
       row += int64_t{gridDim.x} * rows_at_once) {
    const T* const x_row = static_cast<const T*>(a.residual) + row * a.residual_stride;
    const T* const g_row = static_cast<const T*>(a.out_gradient) + row * a.out_stride;
    T* const to = static_cast<T*>(a.residual_gradient) + row * a.gradient_stride;
    Eight x[kHeld];
    Eight g[kHeld];
    float squares = 0;
    float products = 0;
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      const int64_t i = lane * int64_t{kWidth} + j * step;
      if (i >= a.n) continue;
      x[j] = load_piece<kAligned>(x_row, i, a.n);
      g[j] = load_piece<kAligned>(g_row, i, a.n);
      const Eight w = load_piece<kAligned>(a.weight, i, a.n);
#pragma unroll
      for (int e = 0; e < kWidth; ++e) {
        squares += x[j].at[e] * x[j].at[e];
        products += g[j].at[e] * w.at[e] * x[j].at[e];
      }
    }
    if constexpr (kByWarp) {
      squares = warp_sum(squares);
      products = warp_sum(products);
    } else {
      block_sums(squares, products, shared);
    }
    const auto n = static_cast<float>(a.n);
    const float scale = rsqrtf(squares / n + a.epsilon);
    const float pull = scale * scale * scale * products / n;
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      const int64_t i = lane * int64_t{kWidth} + j * step;
      if (i >= a.n) continue;
      const Eight w = load_piece<kAligned>(a.weight, i, a.n);
      Eight gradient = load_piece<kAligned>(to, i, a.n);
#pragma unroll
      for (int e = 0; e < kWidth; ++e) {
        gradient.at[e] += scale * w.at[e] * g[j].at[e] - x[j].at[e] * pull;
        sums[j].at[e] += g[j].at[e] * x[j].at[e] * scale;
      }
      store_piece<kAligned>(to, i, a.n, gradient);
    }
  }
  if (a.sums == nullptr) return;

  float* const out = a.sums + blockIdx.x * a.n;
  if constexpr (kByWarp) {
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      const int64_t i = lane * int64_t{kWidth} + j * step;
      for (int e = 0; e < kWidth; ++e) {
        if (i + e < a.n) row_sums[row_of_block * a.n + i + e] = sums[j].at[e];
      }
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < a.n; i += blockDim.x) {
      float sum = 0;
      for (int r = 0; r < rows_at_once; ++r) sum += row_sums[r * a.n + i];
      out[i] = sum;
    }
  } else {
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      const int64_t i = lane * int64_t{kWidth} + j * step;
      if (i < a.n) store_piece<kAligned>(out, i, a.n, sums[j]);
    }
  }
}

/// Columns of a warp's width to a block; its warps take turns at the rows of sums.
__global__ void add_columns_kernel(const float* sums, int n_rows, int64_t n, float* to) {
  __shared__ float shared[kWarp][kWarp + 1];
  wait_for_previous_kernel();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int n_warps = static_cast<int>(blockDim.x) / kWarp;
  const int64_t column = blockIdx.x * int64_t{kWarp} + lane;
  float sum = 0;
#pragma unroll 8
  for (int row = warp; row < n_rows; row += n_warps) {
    if (column < n) sum += sums[row * n + column];
  }
  shared[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || column >= n) return;
  sum = 0;
  for (int i = 0; i < n_warps; ++i) sum += shared[i][lane];
  to[column] += sum;
}

}  // namespace

void CudaStream::rms_norm_backward(ConstTensorView residual, ConstTensorView weight, float epsilon,
                                   ConstTensorView out_gradient, TensorView residual_gradient,
                                   TensorView weight_gradient) {
  const int64_t n_tokens = residual.shape[0];
  const int64_t n = residual.shape[1];
  check_matrix(residual, n_tokens, n, "rms_norm_backward: residual");
  check_vector(weight, n, DType::f32, "rms_norm_backward: weight");
  check_matrix(out_gradient, n_tokens, n, "rms_norm_backward: out_gradient");
  check_matrix(residual_gradient, n_tokens, n, "rms_norm_backward: residual_gradient");
  check_same_dtype(residual, out_gradient, "rms_norm_backward: residual and out_gradient");
  check_same_dtype(residual, residual_gradient,
                   "rms_norm_backward: residual and residual_gradient");
  const bool wants_weight = !weight_gradient.empty();
  if (wants_weight) {
    check_vector(weight_gradient, n, DType::f32, "rms_norm_backward: weight_gradient");
  }
  constexpr int64_t kMostThreads = 1024;
  constexpr int64_t kMostColumns = kMostThreads * kWidth * kMostHeld;
  if (n > kMostColumns) {
    throw BackendError("rms_norm_backward: wanted at most " + std::to_string(kMostColumns) +
                       " columns, found " + std::to_string(n));
  }
  if (n_tokens == 0) return;

  const CurrentDevice current(shared_->device);
  begin_training();
  const bool by_warp = n <= int64_t{kWarp} * kWidth * kMostHeld;
  const bool aligned = n % kWidth == 0 && is_aligned(residual) && is_aligned(out_gradient) &&
                       is_aligned(residual_gradient) && is_aligned(weight);
  // Few threads of a row hold much, and many wait long for each other.
  const int64_t n_pieces = (n + kWidth - 1) / kWidth;
  int64_t threads = 256;
  while (!by_warp && threads * kMostHeld < n_pieces) threads *= 2;
  const int64_t n_held = (n_pieces + (by_warp ? kWarp : threads) - 1) / (by_warp ? kWarp : threads);
  const int64_t rows_at_once = by_warp ? threads / kWarp : 1;
  constexpr int64_t kBlocksPerProcessor = 4;
  const int64_t n_blocks =
      std::min<int64_t>((n_tokens + rows_at_once - 1) / rows_at_once,
                        int64_t{shared_->size.n_processors} * kBlocksPerProcessor);
  NormBackward a = {};
  a.residual = residual.data;
  a.weight = static_cast<const float*>(weight.data);
  a.out_gradient = out_gradient.data;
  a.residual_gradient = residual_gradient.data;
  a.n_tokens = n_tokens;
  a.n = n;
  a.residual_stride = residual.strides[0];
  a.out_stride = out_gradient.strides[0];
  a.gradient_stride = residual_gradient.strides[0];
  a.epsilon = epsilon;
  if (wants_weight) {
    a.sums = static_cast<float*>(
        scratch(partial_sums_, static_cast<size_t>(n_blocks * n) * sizeof(float)));
  }
  const size_t shared_bytes =
      by_warp && wants_weight ? static_cast<size_t>(rows_at_once * n) * sizeof(float) : 0;
  const auto run_held = [&](auto type, auto held) {
    using T = decltype(type);
    constexpr int kHeld = decltype(held)::value;
    auto* kernel = &norm_backward_kernel<T, false, false, kHeld>;
    if (aligned && by_warp) kernel = &norm_backward_kernel<T, true, true, kHeld>;
    if (aligned && !by_warp) kernel = &norm_backward_kernel<T, true, false, kHeld>;
    if (!aligned && by_warp) kernel = &norm_backward_kernel<T, false, true, kHeld>;
    queue_.launch(kernel, static_cast<unsigned>(n_blocks), static_cast<unsigned>(threads),
                  shared_bytes, a);
  };
  const auto run = [&](auto type) {
    if (n_held <= 1) {
      run_held(type, std::integral_constant<int, 1>());
    } else if (n_held <= 2) {
      run_held(type, std::integral_constant<int, 2>());
    } else {
      run_held(type, std::integral_constant<int, kMostHeld>());
    }
  };
  if (residual.dtype == DType::bf16) {
    run(Bf16());
  } else {
    run(0.0F);
  }
  if (!wants_weight) return;
  constexpr unsigned kSummingThreads = 1024;
  queue_.launch(add_columns_kernel, static_cast<unsigned>((n + kWarp - 1) / kWarp), kSummingThreads,
                0, a.sums, static_cast<int>(n_blocks), n,
                static_cast<float*>(weight_gradient.data));
}

}  // namespace okapi::cuda
