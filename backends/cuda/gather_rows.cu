// Rows of a matrix by index, packed.
#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"

namespace okapi::cuda {

namespace {

/// Elements are moved, not computed with: Word is what holds one.
template <typename Word>
__global__ void gather_kernel(const Word* x, const int64_t* rows, Word* out, int64_t n,
                              int64_t x_stride, int64_t out_stride) {
  wait_for_previous_kernel();
  const Word* const from = x + rows[blockIdx.x] * x_stride;
  Word* const to = out + blockIdx.x * out_stride;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) to[i] = from[i];
}

}  // namespace

void CudaStream::gather_rows(ConstTensorView x, std::span<const int64_t> rows, TensorView out) {
  const int64_t n = x.shape[1];
  check_matrix(x, x.shape[0], n, "gather_rows: x");
  check_matrix(out, static_cast<int64_t>(rows.size()), n, "gather_rows: out");
  check_same_dtype(x, out, "gather_rows: x and out");
  for (int64_t row : rows) {
    if (row < 0 || row >= x.shape[0]) {
      throw BackendError("gather_rows: row " + std::to_string(row) + " of " +
                         std::to_string(x.shape[0]));
    }
  }
  if (rows.empty()) return;

  const CurrentDevice current(shared_->device);
  begin(static_cast<int64_t>(rows.size()));
  const auto* const device_rows =
      static_cast<const int64_t*>(queue_.stage(rows.data(), rows.size_bytes()));
  constexpr int kThreads = 256;
  const auto grid = static_cast<unsigned>(rows.size());
  if (x.dtype == DType::bf16) {
    queue_.launch(gather_kernel<uint16_t>, grid, kThreads, 0, static_cast<const uint16_t*>(x.data),
                  device_rows, static_cast<uint16_t*>(out.data), n, x.strides[0], out.strides[0]);
  } else {
    queue_.launch(gather_kernel<uint32_t>, grid, kThreads, 0, static_cast<const uint32_t*>(x.data),
                  device_rows, static_cast<uint32_t*>(out.data), n, x.strides[0], out.strides[0]);
  }
}

}  // namespace okapi::cuda
