// One product of some rows with some rows of a weight, by the way that suits its size. Used by
// linear and by log_loss.
#pragma once

#include "backends/cpu/cpu_backend.h"

namespace okapi::cpu {

/// Fewer input rows than this go through our own kernel, which reads each weight once, straight
/// from f32 or bf16; from here on the library's product is faster, for bf16 that of panels with the
/// widening counted in.
constexpr int64_t library_rows(DType dtype) { return dtype == DType::bf16 ? 32 : 16; }

/// Weight rows that are widened from bf16 at once: a block that stays in the cache until its
/// product has read it.
constexpr int64_t kBlockElements = int64_t{1} << 20;
int64_t rows_per_block(const CpuWeight& weight);

/// Rows of an output matrix whose logits are made at once: few enough to be folded into sums while
/// they are in the cache.
int64_t vocabulary_block(const CpuWeight& weight);

/// Elements from row to row of a matrix that a product reads along its columns. At a multiple of
/// 4 KiB the elements of a column share one set of the caches: a product with 1024 by 1024 such
/// numbers runs at half its speed (88 against 161 GFLOP/s).
constexpr int64_t spread_stride(int64_t columns) {
  return columns % 1024 == 0 ? columns + 16 : columns;
}

/// out [m, end - begin] = x [m, K] times rows [begin, end) of the weight, transposed.
void multiply(const Shared& shared, Scratch& scratch, const float* x, int64_t ldx, int64_t m,
              const CpuWeight& weight, int64_t begin, int64_t end, float* out, int64_t ldo);

/// Rows [begin, end), at most rows_per_block(), as f32: where they lie, or widened into the
/// scratch.
const float* widened_rows(const Shared& shared, Scratch& scratch, const CpuWeight& weight,
                          int64_t begin, int64_t end);

}  // namespace okapi::cpu
