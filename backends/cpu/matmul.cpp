// Products of plain matrices.
#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/threads.h"

namespace okapi::cpu {

void CpuStream::matmul(ConstTensorView a, bool transpose_a, ConstTensorView b, bool transpose_b,
                       float alpha, float beta, TensorView out) {
  const int64_t m = out.shape[0];
  const int64_t n = out.shape[1];
  const int64_t k = a.shape[transpose_a ? 0 : 1];
  check_matrix(a, transpose_a ? k : m, transpose_a ? m : k, "matmul: a");
  check_matrix(b, transpose_b ? n : k, transpose_b ? k : n, "matmul: b");
  check_matrix(out, m, n, "matmul: out");
  if (m == 0 || n == 0) return;
  const ThreadLimit limit(shared_->n_threads);
  shared_->library.gemm(transpose_a, transpose_b, m, n, k, alpha, floats(a), a.strides[0],
                        floats(b), b.strides[0], beta, floats(out), out.strides[0]);
}

}  // namespace okapi::cpu
