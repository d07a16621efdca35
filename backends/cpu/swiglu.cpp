// The gate of the feed-forward block (Shazeer 2020, arXiv:2002.05202).
#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/threads.h"

namespace okapi::cpu {

void CpuStream::swiglu(ConstTensorView gate_up, TensorView out) {
  const int64_t n_tokens = out.shape[0];
  const int64_t n = out.shape[1];
  check_matrix(out, n_tokens, n, "swiglu: out");
  check_matrix(gate_up, n_tokens, 2 * n, "swiglu: gate_up");

  const ThreadLimit limit(shared_->n_threads);
  parallel_ranges(n_tokens, 1, 2 * n_tokens * n, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* const gate = floats(gate_up) + t * gate_up.strides[0];
      shared_->kernels.swiglu(gate, gate + n, floats(out) + t * out.strides[0], n);
    }
  });
}

}  // namespace okapi::cpu
