#include "backends/cuda/convert.h"

#include "backends/cuda/device.cuh"

namespace okapi::cuda {

namespace {

template <typename From, typename To>
__global__ void convert_kernel(const From* from, To* to, int64_t columns, int64_t from_stride,
                               int64_t to_stride) {
  wait_for_previous_kernel();
  const From* const source = from + blockIdx.x * from_stride;
  To* const target = to + blockIdx.x * to_stride;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) {
    target[i] = from_float<To>(to_float(source[i]));
  }
}

}  // namespace

void convert(Queue& queue, const ConstTensorView& from, const TensorView& to) {
  constexpr int kThreads = 256;
  const auto run = [&](const auto* source, auto* target) {
    queue.launch(convert_kernel<std::decay_t<decltype(*source)>, std::decay_t<decltype(*target)>>,
                 static_cast<unsigned>(from.shape[0]), kThreads, 0, source, target, from.shape[1],
                 from.strides[0], to.strides[0]);
  };
  const auto run_from = [&](const auto* source) {
    if (to.dtype == DType::bf16) {
      run(source, static_cast<Bf16*>(to.data));
    } else {
      run(source, static_cast<float*>(to.data));
    }
  };
  if (from.dtype == DType::bf16) {
    run_from(static_cast<const Bf16*>(from.data));
  } else {
    run_from(static_cast<const float*>(from.data));
  }
}

}  // namespace okapi::cuda
