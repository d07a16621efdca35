// Products of a weight with few rows: decoding, bound by reading the weight once.
#pragma once

#include <cstdint>

#include "backends/backend.h"
#include "backends/cuda/queue.h"

namespace okapi::cuda {

/// What the rows of a product are made of, where the operation before it has been taken into it.
enum class RowsFrom : int32_t {
  tensor,  ///< x as it lies there
  norm     ///< x / rms * gain, where x is the residual
};

/// The most rows for which a norm before and the addition after are taken into the product: every
/// block repeats the former.
constexpr int64_t kMostFusedRows = 4;
/// The most columns of rows that are normed within a product.
constexpr int64_t kMostNormedColumns = 8192;

/// out [m, n] = rows [m, k] times w [n, k] transposed, m up to kFewRows.
struct FewRowsProduct {
  ConstTensorView x;  ///< see RowsFrom
  RowsFrom from = RowsFrom::tensor;
  const void* gain = nullptr;  ///< f32 [k]
  float epsilon = 0;
  TensorView rows;  ///< [m, k], is written too where `from` is not the tensor
  const void* w = nullptr;
  DType weight_dtype = DType::f32;
  int64_t k = 0;
  TensorView out;
  TensorView residual;  ///< [m, n] += out, unless it is empty
  TensorView gated;     ///< [m, n / 2] = silu(first half of out) * second half, unless it is empty
};

/// What of a device decides how a product is spread over it.
struct DeviceSize {
  int n_processors = 0;
  size_t shared_bytes = 0;  ///< the most that one block may have
};

/// Whether the tensor cores take it; what is fused must be such.
bool takes_tensor_cores(const FewRowsProduct& product);
/// Whether the rows of a product of such a size may be made within it.
bool fits_fused(int64_t m, int64_t k, const DeviceSize& device);

/// Any mixture of f32 and bf16. A row's result depends on that row and the weight alone, to the
/// bit, however many stand beside it.
void multiply_few_rows(Queue& queue, const FewRowsProduct& product, const DeviceSize& device);

}  // namespace okapi::cuda
