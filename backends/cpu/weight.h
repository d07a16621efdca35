// A weight matrix as the CPU backend keeps it.
#pragma once

#include <memory>
#include <mutex>
#include <span>

#include "backends/backend.h"
#include "backends/cpu/memory.h"
#include "backends/cpu/onednn.h"

namespace okapi::cpu {

/// Rows [N, K], f32 or bf16. Rows serve every use: small products and the embedding read them, and
/// on most processors so does the library's product. Where that wants a layout of its own, a packed
/// copy is made beside the rows at the first large product; a table that is only looked up never
/// gets one, and neither does a weight that is trained, whose rows are its master's and change.
class CpuWeight final : public PreparedWeight {
 public:
  CpuWeight(std::span<const ConstTensorView> row_blocks, DType keep, Arena& arena);

  /// Reads f32 rows that somebody else keeps and changes.
  explicit CpuWeight(TensorView master);
  bool is_trainable() const { return is_trainable_; }

  const float* f32_row(int64_t row) const {
    return reinterpret_cast<const float*>(data_.get()) + row * columns;
  }
  /// In the paired order of kernels/simd.h.
  const uint16_t* bf16_row(int64_t row) const {
    return reinterpret_cast<const uint16_t*>(data_.get()) + row * columns;
  }

  /// Made once, by whichever thread asks first; null when the library is content with rows.
  const PackedMatrix* packed(const OneDnn& library) const;

 private:
  std::shared_ptr<std::byte> data_;
  bool is_trainable_ = false;
  mutable std::once_flag packed_once_;
  mutable std::shared_ptr<const PackedMatrix> packed_;
};

/// A PreparedWeight of this backend; throws BackendError for any other.
const CpuWeight& cpu_weight(const PreparedWeight& weight);

}  // namespace okapi::cpu
