// Dropout (Srivastava et al. 2014), of the elements that a hash of seed and index chooses: the same
// ones as on the CPU.
#include <algorithm>

#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"
#include "backends/training_numbers.h"

namespace okapi::cuda {

namespace {

__device__ inline uint32_t mixed(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7FEB352DU;
  x = (x ^ (x >> 15)) * 0x846CA68BU;
  return x ^ (x >> 16);
}

template <typename T>
__global__ void dropout_kernel(const T* x, T* out, int64_t n, int64_t x_stride, int64_t out_stride,
                               DropoutMask mask) {
  wait_for_previous_kernel();
  const T* const from = x + blockIdx.x * x_stride;
  T* const to = out + blockIdx.x * out_stride;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const auto index = static_cast<uint64_t>(blockIdx.x * n + i);
    const auto low = static_cast<uint32_t>(index);
    const auto high = static_cast<uint32_t>(index >> 32);
    const uint32_t hash = mixed(mixed(low ^ mask.key_low) + high * 0x9E3779B9U + mask.key_high);
    to[i] = hash >= mask.first_kept ? from_float<T>(to_float(from[i]) * mask.scale)
                                    : from_float<T>(0.0F);
  }
}

}  // namespace

void CudaStream::dropout(ConstTensorView x, uint64_t seed, float probability, TensorView out) {
  const int64_t n_rows = x.shape[0];
  const int64_t n = x.shape[1];
  check_matrix(x, n_rows, n, "dropout: x");
  check_matrix(out, n_rows, n, "dropout: out");
  check_same_dtype(x, out, "dropout: x and out");
  const DropoutMask mask = make_dropout_mask(seed, probability);
  if (n_rows == 0) return;
  const CurrentDevice current(shared_->device);
  begin_training();
  constexpr unsigned kThreads = 256;
  const auto run = [&](const auto* from, auto* to) {
    queue_.launch(dropout_kernel<std::decay_t<decltype(*to)>>, static_cast<unsigned>(n_rows),
                  kThreads, 0, from, to, n, x.strides[0], out.strides[0], mask);
  };
  if (x.dtype == DType::bf16) {
    run(static_cast<const Bf16*>(x.data), static_cast<Bf16*>(out.data));
  } else {
    run(static_cast<const float*>(x.data), static_cast<float*>(out.data));
  }
}

}  // namespace okapi::cuda
