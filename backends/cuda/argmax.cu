// The largest element of each row.
#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"

namespace okapi::cuda {

namespace {

struct Best {
  float value;
  int index;
};

/// The larger one, the lower index on a tie: whatever the order of comparisons, the same result.
__device__ inline Best better(Best a, Best b) {
  return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}

template <typename T>
__global__ void argmax_kernel(const T* x, int64_t n, int64_t stride, int32_t* ids) {
  __shared__ Best of_warps[kWarp];
  wait_for_previous_kernel();
  const T* const row = x + blockIdx.x * stride;
  // Threads without an element start from one that loses against any; if all numbers are NaN the
  // answer is 0.
  Best best = {-INFINITY, INT32_MAX};
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    best = better(best, {to_float(row[i]), static_cast<int>(i)});
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    best = better(best, {__shfl_xor_sync(0xFFFFFFFFU, best.value, step),
                         __shfl_xor_sync(0xFFFFFFFFU, best.index, step)});
  }
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = best;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < static_cast<int>(blockDim.x) / kWarp; ++warp) {
    best = better(best, of_warps[warp]);
  }
  ids[blockIdx.x] = best.index == INT32_MAX ? 0 : best.index;
}

}  // namespace

void CudaStream::argmax(ConstTensorView x, TensorView ids) {
  const int64_t n_rows = x.shape[0];
  const int64_t n = x.shape[1];
  check_matrix(x, n_rows, n, "argmax: x");
  check_vector(ids, n_rows, DType::i32, "argmax: ids");
  if (n < 1) throw BackendError("argmax: rows without elements");
  if (n_rows == 0) return;

  const CurrentDevice current(shared_->device);
  begin(n_rows);
  constexpr unsigned kThreads = 1024;
  auto* const out = static_cast<int32_t*>(ids.data);
  if (x.dtype == DType::bf16) {
    queue_.launch(argmax_kernel<Bf16>, static_cast<unsigned>(n_rows), kThreads, 0,
                  static_cast<const Bf16*>(x.data), n, x.strides[0], out);
  } else {
    queue_.launch(argmax_kernel<float>, static_cast<unsigned>(n_rows), kThreads, 0,
                  static_cast<const float*>(x.data), n, x.strides[0], out);
  }
}

}  // namespace okapi::cuda
