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

void CpuStream::swiglu_backward(ConstTensorView gate_up, ConstTensorView out_gradient,
                                TensorView gate_up_gradient) {
  const int64_t n_tokens = out_gradient.shape[0];
  const int64_t n = out_gradient.shape[1];
  check_matrix(out_gradient, n_tokens, n, "swiglu_backward: out_gradient");
  check_matrix(gate_up, n_tokens, 2 * n, "swiglu_backward: gate_up");
  check_matrix(gate_up_gradient, n_tokens, 2 * n, "swiglu_backward: gate_up_gradient");

  const ThreadLimit limit(shared_->n_threads);
  parallel_ranges(n_tokens, 1, 2 * n_tokens * n, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* const gate = floats(gate_up) + t * gate_up.strides[0];
      float* const gradient = floats(gate_up_gradient) + t * gate_up_gradient.strides[0];
      shared_->kernels.swiglu_backward(gate, gate + n,
                                       floats(out_gradient) + t * out_gradient.strides[0], gradient,
                                       gradient + n, n);
    }
  });
}

}  // namespace okapi::cpu
