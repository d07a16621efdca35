#include "backends/cpu/weight.h"

#include <cstring>
#include <string>

#include "backends/cpu/checks.h"
#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/threads.h"
#include "backends/half.h"

namespace okapi::cpu {

namespace {

/// See kernels/simd.h: word j of a block of 2 * kPairing holds elements j / 2 of either half.
void pair_bf16(const uint16_t* from, uint16_t* to, int64_t n) {
  int64_t i = 0;
  for (; i + 2 * kPairing <= n; i += 2 * kPairing) {
    for (int j = 0; j < kPairing; ++j) {
      to[i + 2 * j] = from[i + j];
      to[i + 2 * j + 1] = from[i + kPairing + j];
    }
  }
  for (; i < n; ++i) to[i] = from[i];
}

void widen_row(const void* from, DType dtype, float* to, int64_t n) {
  const auto* const words = static_cast<const uint16_t*>(from);
  switch (dtype) {
    case DType::f32:
      std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
      break;
    case DType::f16:
      for (int64_t i = 0; i < n; ++i) to[i] = float_of_f16(words[i]);
      break;
    default:
      for (int64_t i = 0; i < n; ++i) to[i] = float_of_bf16(words[i]);
  }
}

}  // namespace

CpuWeight::CpuWeight(std::span<const ConstTensorView> row_blocks, DType keep, Arena& arena) {
  if (row_blocks.empty()) throw BackendError("prepare_weight: no row blocks");
  if (keep != DType::f32 && keep != DType::bf16) {
    throw BackendError("prepare_weight: the CPU backend keeps weights as f32 or bf16");
  }
  for (const ConstTensorView& block : row_blocks) {
    check_row_block(block, row_blocks[0], keep);
    rows += block.shape[0];
  }
  columns = row_blocks[0].shape[1];
  dtype = keep;
  const size_t row_bytes = static_cast<size_t>(columns) * size_of(keep);
  bytes = static_cast<size_t>(rows) * row_bytes;
  data_ = arena.take(bytes);

  std::byte* to = data_.get();
  for (const ConstTensorView& block : row_blocks) {
    const auto* const from = static_cast<const std::byte*>(block.data);
    const size_t from_stride = static_cast<size_t>(block.strides[0]) * size_of(block.dtype);
    parallel_ranges(block.shape[0], 1, block.shape[0] * columns, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const std::byte* const source = from + static_cast<size_t>(row) * from_stride;
        std::byte* const target = to + static_cast<size_t>(row) * row_bytes;
        if (keep == DType::bf16) {
          pair_bf16(reinterpret_cast<const uint16_t*>(source), reinterpret_cast<uint16_t*>(target),
                    columns);
        } else {
          widen_row(source, block.dtype, reinterpret_cast<float*>(target), columns);
        }
      }
    });
    to += static_cast<size_t>(block.shape[0]) * row_bytes;
  }
}

CpuWeight::CpuWeight(TensorView master)
    : data_(std::shared_ptr<std::byte>(), static_cast<std::byte*>(master.data)),
      is_trainable_(true) {
  check_matrix(master, master.shape[0], master.shape[1], "trainable_weight: master");
  if (master.strides[0] != master.shape[1]) {
    throw BackendError("trainable_weight: the rows of the master must follow one another");
  }
  rows = master.shape[0];
  columns = master.shape[1];
}

const PackedMatrix* CpuWeight::packed(const OneDnn& library) const {
  std::call_once(packed_once_, [&] {
    if (dtype == DType::f32 && !is_trainable_ && library.prefers_packing(rows, columns)) {
      packed_ = library.pack(f32_row(0), rows, columns);
    }
  });
  return packed_.get();
}

const CpuWeight& cpu_weight(const PreparedWeight& weight) {
  const auto* const own = dynamic_cast<const CpuWeight*>(&weight);
  if (own == nullptr) throw BackendError("the weight was prepared by another backend");
  return *own;
}

}  // namespace okapi::cpu
