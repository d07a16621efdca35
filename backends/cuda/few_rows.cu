// The weight is read once from device memory, 16 bytes a thread and many loads in flight, and goes
// to the tensor cores as it comes: 16 weight rows are the rows of the matrix instruction, and the
// tokens its columns. The eight warps of a block divide K among them, in a fixed pattern, and their
// sums are added in the order of the warps.
#include "backends/cuda/few_rows.h"

#include <algorithm>

#include "backends/cuda/checks.h"
#include "backends/cuda/device.cuh"
#include "backends/cuda/mma.cuh"

namespace okapi::cuda {

namespace {

constexpr int kRowsPerBlock = 16;
constexpr int kWarpsPerBlock = 8;
constexpr int kStep = 64;   // of K per warp and step: two loads of eight per thread and row
constexpr int kAtOnce = 4;  // steps whose loads are in flight together

/// Streamed past the first-level cache, where the tokens stay.
__device__ inline uint4 load_weight(const Bf16* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

/// The order of K within a step is free as long as both operands have the same: thread t of a group
/// of four takes elements 8t .. 8t + 7 of each 32, so that every load is 16 bytes.
template <int kColumns, typename Out>
__global__ void __launch_bounds__(kWarpsPerBlock* kWarp, 2)
    few_rows_kernel(const Bf16* w, const Bf16* x, Out* out, int n, int k, int m, int64_t x_stride,
                    int64_t out_stride) {
  constexpr int kTiles = kColumns / 8;
  __shared__ float sums[kWarpsPerBlock][kRowsPerBlock][kColumns + 1];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int g = lane / 4;
  const int t = lane % 4;
  const int first_row = static_cast<int>(blockIdx.x) * kRowsPerBlock;
  const Bf16* const upper = w + int64_t{min(first_row + g, n - 1)} * k;
  const Bf16* const lower = w + int64_t{min(first_row + g + 8, n - 1)} * k;
  const int n_steps = (k + kStep - 1) / kStep;

  float accumulated[kTiles][4] = {};
  uint4 held[kAtOnce][2][2];  // step, half of the step, upper or lower row
  const auto load_steps = [&](int step) {
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = (step + j * kWarpsPerBlock) * kStep + half * 32 + t * 8;
        const bool is_there = at < k;
        held[j][half][0] = is_there ? load_weight(upper + at) : uint4{0, 0, 0, 0};
        held[j][half][1] = is_there ? load_weight(lower + at) : uint4{0, 0, 0, 0};
      }
    }
  };

  // Weights never change: the first are on their way before the kernel that makes x has finished.
  load_steps(warp);
  wait_for_previous_kernel();
  for (int step = warp; step < n_steps; step += kWarpsPerBlock * kAtOnce) {
    if (step != warp) load_steps(step);
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int at = (step + j * kWarpsPerBlock) * kStep + half * 32 + t * 8;
        const uint4 a = held[j][half][0];
        const uint4 b = held[j][half][1];
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          const int token = tile * 8 + g;
          uint4 v = {0, 0, 0, 0};
          if (token < m && at < k) {
            v = *reinterpret_cast<const uint4*>(x + token * x_stride + at);
          }
          mma_bf16(accumulated[tile], a.x, b.x, a.y, b.y, v.x, v.y);
          mma_bf16(accumulated[tile], a.z, b.z, a.w, b.w, v.z, v.w);
        }
      }
    }
  }

#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    sums[warp][g][tile * 8 + 2 * t] = accumulated[tile][0];
    sums[warp][g][tile * 8 + 2 * t + 1] = accumulated[tile][1];
    sums[warp][g + 8][tile * 8 + 2 * t] = accumulated[tile][2];
    sums[warp][g + 8][tile * 8 + 2 * t + 1] = accumulated[tile][3];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kRowsPerBlock * kColumns; i += blockDim.x) {
    const int row = i % kRowsPerBlock;
    const int token = i / kRowsPerBlock;
    if (token >= m || first_row + row >= n) continue;
    float sum = 0;
#pragma unroll
    for (int other = 0; other < kWarpsPerBlock; ++other) sum += sums[other][row][token];
    out[token * out_stride + first_row + row] = from_float<Out>(sum);
  }
}

/// Any sizes, alignments and dtypes: one warp per weight row, whose lanes divide K.
template <typename X, typename W, typename Out>
__global__ void any_few_rows_kernel(const W* w, const X* x, Out* out, int64_t n, int64_t k, int m,
                                    int64_t x_stride, int64_t out_stride) {
  constexpr int kTokensAtOnce = 8;
  wait_for_previous_kernel();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t row = blockIdx.x * int64_t{blockDim.x / kWarp} + threadIdx.x / kWarp;
  if (row >= n) return;
  const W* const weights = w + row * k;
  for (int first = 0; first < m; first += kTokensAtOnce) {
    float sums[kTokensAtOnce] = {};
    for (int64_t i = lane; i < k; i += kWarp) {
      const float weight = to_float(weights[i]);
#pragma unroll
      for (int j = 0; j < kTokensAtOnce; ++j) {
        if (first + j < m) sums[j] += weight * to_float(x[(first + j) * x_stride + i]);
      }
    }
#pragma unroll
    for (int j = 0; j < kTokensAtOnce; ++j) {
      if (first + j >= m) break;
      const float sum = warp_sum(sums[j]);
      if (lane == 0) out[(first + j) * out_stride + row] = from_float<Out>(sum);
    }
  }
}

template <typename Out>
void launch_fast(Queue& queue, ConstTensorView x, const void* w, TensorView out, int64_t k) {
  const int64_t n = out.shape[1];
  const int64_t m = x.shape[0];
  auto* kernel = &few_rows_kernel<8, Out>;
  if (m > 8) kernel = &few_rows_kernel<16, Out>;
  if (m > 16) kernel = &few_rows_kernel<32, Out>;
  queue.launch(kernel, static_cast<unsigned>((n + kRowsPerBlock - 1) / kRowsPerBlock),
               kWarpsPerBlock * kWarp, 0, static_cast<const Bf16*>(w),
               static_cast<const Bf16*>(x.data), static_cast<Out*>(out.data), static_cast<int>(n),
               static_cast<int>(k), static_cast<int>(m), x.strides[0], out.strides[0]);
}

template <typename X, typename W>
void launch_any(Queue& queue, ConstTensorView x, const void* w, TensorView out, int64_t k) {
  constexpr int64_t kWarps = 4;
  const int64_t n = out.shape[1];
  const auto run = [&](auto* to) {
    queue.launch(any_few_rows_kernel<X, W, std::decay_t<decltype(*to)>>,
                 static_cast<unsigned>((n + kWarps - 1) / kWarps), kWarps * kWarp, 0,
                 static_cast<const W*>(w), static_cast<const X*>(x.data), to, n, k,
                 static_cast<int>(x.shape[0]), x.strides[0], out.strides[0]);
  };
  if (out.dtype == DType::bf16) {
    run(static_cast<Bf16*>(out.data));
  } else {
    run(static_cast<float*>(out.data));
  }
}

}  // namespace

void multiply_few_rows(Queue& queue, ConstTensorView x, const void* w, DType weight_dtype,
                       TensorView out) {
  const int64_t k = x.shape[1];
  const bool both_bf16 = x.dtype == DType::bf16 && weight_dtype == DType::bf16;
  if (both_bf16 && k % 8 == 0 && is_aligned(x) && reinterpret_cast<uintptr_t>(w) % 16 == 0) {
    if (out.dtype == DType::bf16) {
      launch_fast<Bf16>(queue, x, w, out, k);
    } else {
      launch_fast<float>(queue, x, w, out, k);
    }
  } else if (x.dtype == DType::bf16 && weight_dtype == DType::bf16) {
    launch_any<Bf16, Bf16>(queue, x, w, out, k);
  } else if (x.dtype == DType::bf16) {
    launch_any<Bf16, float>(queue, x, w, out, k);
  } else if (weight_dtype == DType::bf16) {
    launch_any<float, Bf16>(queue, x, w, out, k);
  } else {
    launch_any<float, float>(queue, x, w, out, k);
  }
}

}  // namespace okapi::cuda
