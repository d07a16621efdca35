// A weight matrix as the CUDA backend keeps it.
#pragma once

#include <memory>
#include <span>

#include "backends/backend.h"
#include "backends/cuda/memory.h"

namespace okapi::cuda {

/// Rows [N, K] without gaps, f32 or bf16: what the library and our own kernels read alike.
class CudaWeight final : public PreparedWeight {
 public:
  CudaWeight(std::span<const ConstTensorView> row_blocks, DType keep,
             std::shared_ptr<MemoryPool> pool, int device);
  /// Of f32 rows that somebody else keeps and changes: read where they are, or as a copy in bf16.
  CudaWeight(TensorView master, DType keep, std::shared_ptr<MemoryPool> pool);
  ~CudaWeight() override { pool_->release(own_); }
  CudaWeight(const CudaWeight&) = delete;
  CudaWeight& operator=(const CudaWeight&) = delete;

  const void* data() const { return data_; }
  ConstTensorView view() const { return {data_, dtype, {rows, columns}}; }

  bool is_trainable() const { return master_ != nullptr; }
  const float* master() const { return master_; }
  void* copy() const { return own_; }  ///< null: the rows are the master's

 private:
  std::shared_ptr<MemoryPool> pool_;
  const void* data_ = nullptr;
  void* own_ = nullptr;
  const float* master_ = nullptr;
};

/// A PreparedWeight of this backend; throws BackendError for any other.
const CudaWeight& cuda_weight(const PreparedWeight& weight);

}  // namespace okapi::cuda
