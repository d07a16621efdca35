// Residual addition and root-mean-square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467).
#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/threads.h"

namespace okapi::cpu {

void CpuStream::add_rms_norm(TensorView residual, ConstTensorView delta, ConstTensorView weight,
                             float epsilon, TensorView out) {
  const int64_t n_tokens = residual.shape[0];
  const int64_t n = residual.shape[1];
  check_matrix(residual, n_tokens, n, "add_rms_norm: residual");
  check_matrix(out, n_tokens, n, "add_rms_norm: out");
  check_vector(weight, n, DType::f32, "add_rms_norm: weight");
  if (!delta.empty()) check_matrix(delta, n_tokens, n, "add_rms_norm: delta");

  const ThreadLimit limit(shared_->n_threads);
  parallel_ranges(n_tokens, 1, n_tokens * n, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      shared_->kernels.add_rms_norm(floats(residual) + t * residual.strides[0],
                                    delta.empty() ? nullptr : floats(delta) + t * delta.strides[0],
                                    floats(weight), epsilon, floats(out) + t * out.strides[0], n);
    }
  });
}

}  // namespace okapi::cpu
