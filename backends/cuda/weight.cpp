#include "backends/cuda/weight.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "backends/cuda/checks.h"

namespace okapi::cuda {

namespace {

float from_f16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000U) << 16;
  const uint32_t magnitude = bits & 0x7FFFU;
  if (magnitude >= 0x7C00U) {  // infinity or NaN: the exponent becomes all ones
    return std::bit_cast<float>(sign | 0x7F800000U | (magnitude & 0x3FFU) << 13);
  }
  // Multiplying moves the exponent's bias from 15 to 127, and normalises what is subnormal in f16.
  constexpr float kBias = 0x1p112F;
  return std::bit_cast<float>(
      sign | std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude << 13) * kBias));
}

float from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

void check_block(const ConstTensorView& block, const ConstTensorView& first, DType keep) {
  if (block.rank != 2 || block.empty())
    throw BackendError("prepare_weight: a row block must be a matrix");
  if (block.shape[1] != first.shape[1]) {
    throw BackendError("prepare_weight: row blocks of " + std::to_string(first.shape[1]) +
                       " and of " + std::to_string(block.shape[1]) + " columns");
  }
  if (block.strides[1] != 1)
    throw BackendError("prepare_weight: the elements of a row must be contiguous");
  if (block.dtype != DType::f32 && block.dtype != DType::f16 && block.dtype != DType::bf16) {
    throw BackendError("prepare_weight: a row block must be f32, f16 or bf16");
  }
  if (keep == DType::bf16 && block.dtype != DType::bf16) {
    throw BackendError("prepare_weight: only bf16 blocks can be kept as bf16");
  }
}

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
        line[i] = block.dtype == DType::f16 ? from_f16(from[i]) : from_bf16(from[i]);
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
    check_block(block, row_blocks[0], keep);
    rows += block.shape[0];
  }
  columns = row_blocks[0].shape[1];
  dtype = keep;
  const size_t row_bytes = static_cast<size_t>(columns) * size_of(keep);
  bytes = static_cast<size_t>(rows) * row_bytes;

  const CurrentDevice current(device);
  data_ = pool_->allocate(bytes);
  try {
    auto* to = static_cast<std::byte*>(data_);
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
    pool_->release(data_);
    throw;
  }
}

const CudaWeight& cuda_weight(const PreparedWeight& weight) {
  const auto* const own = dynamic_cast<const CudaWeight*>(&weight);
  if (own == nullptr) throw BackendError("the weight was prepared by another backend");
  return *own;
}

}  // namespace okapi::cuda
