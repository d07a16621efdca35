#include "backends/cuda/weight.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "backends/cuda/checks.h"
#include "backends/half.h"

namespace okapi::cuda {

namespace {

void copy_rows(void* to, const void* from, size_t row_bytes, size_t from_stride, int64_t rows) {
  if (rows == 0 || row_bytes == 0) return;
  if (from_stride == row_bytes) {
    check(cudaMemcpy(to, from, row_bytes * static_cast<size_t>(rows), cudaMemcpyHostToDevice),
          "cudaMemcpy");
  } else {
    check(cudaMemcpy2D(to, row_bytes, from, from_stride, row_bytes, static_cast<size_t>(rows),
                       cudaMemcpyHostToDevice),
          "cudaMemcpy2D");
  }
}

/// f16 or bf16 rows as f32, some at a time through host memory.
void copy_widened(float* to, const ConstTensorView& block, int64_t columns) {
  constexpr int64_t kElementsAtOnce = int64_t{1} << 22;
  const int64_t rows_at_once =
      std::clamp<int64_t>(kElementsAtOnce / std::max<int64_t>(1, columns), 1, block.shape[0]);
  std::vector<float> wide(static_cast<size_t>(rows_at_once * columns));
  const auto* const words = static_cast<const uint16_t*>(block.data);
  for (int64_t row = 0; row < block.shape[0]; row += rows_at_once) {
    const int64_t n = std::min(rows_at_once, block.shape[0] - row);
    for (int64_t r = 0; r < n; ++r) {
      const uint16_t* const from = words + (row + r) * block.strides[0];
      float* const line = wide.data() + r * columns;
      for (int64_t i = 0; i < columns; ++i) {
        line[i] = block.dtype == DType::f16 ? float_of_f16(from[i]) : float_of_bf16(from[i]);
      }
    }
    const size_t row_bytes = static_cast<size_t>(columns) * sizeof(float);
    copy_rows(to + row * columns, wide.data(), row_bytes, row_bytes, n);
  }
}

}  // namespace

CudaWeight::CudaWeight(std::span<const ConstTensorView> row_blocks, DType keep,
                       std::shared_ptr<MemoryPool> pool, int device)
    : pool_(std::move(pool)) {
  if (row_blocks.empty()) throw BackendError("prepare_weight: no row blocks");
  if (keep != DType::f32 && keep != DType::bf16) {
    throw BackendError("prepare_weight: the CUDA backend keeps weights as f32 or bf16");
  }
  for (const ConstTensorView& block : row_blocks) {
    check_row_block(block, row_blocks[0], keep);
    rows += block.shape[0];
  }
  columns = row_blocks[0].shape[1];
  dtype = keep;
  const size_t row_bytes = static_cast<size_t>(columns) * size_of(keep);
  bytes = static_cast<size_t>(rows) * row_bytes;

  const CurrentDevice current(device);
  data_ = own_ = pool_->allocate(bytes);
  try {
    auto* to = static_cast<std::byte*>(own_);
    for (const ConstTensorView& block : row_blocks) {
      if (block.dtype == keep) {
        copy_rows(to, block.data, row_bytes,
                  static_cast<size_t>(block.strides[0]) * size_of(block.dtype), block.shape[0]);
      } else {
        copy_widened(reinterpret_cast<float*>(to), block, columns);
      }
      to += static_cast<size_t>(block.shape[0]) * row_bytes;
    }
    // Other streams do not wait for the default one, on which the copies went.
    check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");
  } catch (...) {
    pool_->release(own_);
    throw;
  }
}

CudaWeight::CudaWeight(TensorView master, DType keep, std::shared_ptr<MemoryPool> pool)
    : pool_(std::move(pool)), master_(static_cast<const float*>(master.data)) {
  check_matrix(master, master.shape[0], master.shape[1], "trainable_weight: master");
  if (master.dtype != DType::f32 || master.strides[0] != master.shape[1]) {
    throw BackendError("trainable_weight: wanted f32 rows that follow one another");
  }
  rows = master.shape[0];
  columns = master.shape[1];
  dtype = keep;
  data_ = master_;
  if (keep == DType::f32) return;
  bytes = static_cast<size_t>(master.count()) * size_of(keep);
  data_ = own_ = pool_->allocate(bytes);
}

const CudaWeight& cuda_weight(const PreparedWeight& weight) {
  const auto* const own = dynamic_cast<const CudaWeight*>(&weight);
  if (own == nullptr) throw BackendError("the weight was prepared by another backend");
  return *own;
}

}  // namespace okapi::cuda
