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
  ~CudaWeight() override { pool_->release(data_); }
  CudaWeight(const CudaWeight&) = delete;
  CudaWeight& operator=(const CudaWeight&) = delete;

  const void* data() const { return data_; }

 private:
  std::shared_ptr<MemoryPool> pool_;
  void* data_ = nullptr;
};

/// A PreparedWeight of this backend; throws BackendError for any other.
const CudaWeight& cuda_weight(const PreparedWeight& weight);

}  // namespace okapi::cuda
