// The matrix product of oneDNN. The only files that see its headers, and the only place where its
// versions 2 and 3 differ.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "backends/backend.h"
#include "backends/cpu/memory.h"

namespace okapi::cpu {

/// A weight [N, K] in the layout the library prefers on this processor.
class PackedMatrix;

class OneDnn {
 public:
  /// Throws BackendError when the library does not start.
  OneDnn();
  ~OneDnn();

  static std::string version();

  /// Whether products with a weight [n, k] run on a layout of the library's own. It is so where its
  /// block kernels exist (AVX-512), and not where it falls back to a plain GEMM (AVX2), which is as
  /// fast on rows as they are. Asked of the library, not of the processor.
  bool prefers_packing(int64_t n, int64_t k) const;
  std::shared_ptr<const PackedMatrix> pack(const float* w, int64_t n, int64_t k) const;

  /// c [m, n] = beta c + alpha op(a) op(b), all in rows; op transposes if its flag is set, so that
  /// op(a) is [m, k] and op(b) is [k, n]. c is not read when beta is 0.
  void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
            const float* a, int64_t lda, const float* b, int64_t ldb, float beta, float* c,
            int64_t ldc) const;

  /// out [m, n] = x [m, k] times w [n, k] transposed, w in rows or packed.
  void product(const float* x, int64_t ldx, int64_t m, const float* w, int64_t n, int64_t k,
               float* out, int64_t ldo) const;

  /// The same, m one of packed_rows(); a primitive is made for each m once.
  void product_packed(const float* x, int64_t ldx, int64_t m, const PackedMatrix& w, float* out,
                      int64_t ldo, Scratch& scratch) const;

  /// The largest m' <= m for which product_packed() has a primitive; 0 when m is too small for any.
  static int64_t packed_rows(int64_t m);

  /// The fastest of a few runs of [m, k] x [k, n], the weight laid out as the library likes.
  MatmulMeasurement measure(int64_t m, int64_t n, int64_t k, DType dtype) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace okapi::cpu
