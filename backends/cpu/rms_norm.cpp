// Residual addition and root-mean-square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467).
#include <algorithm>

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

void CpuStream::rms_norm_backward(ConstTensorView residual, ConstTensorView weight, float epsilon,
                                  ConstTensorView out_gradient, TensorView residual_gradient,
                                  TensorView weight_gradient) {
  const int64_t n_tokens = residual.shape[0];
  const int64_t n = residual.shape[1];
  check_matrix(residual, n_tokens, n, "rms_norm_backward: residual");
  check_vector(weight, n, DType::f32, "rms_norm_backward: weight");
  check_matrix(out_gradient, n_tokens, n, "rms_norm_backward: out_gradient");
  check_matrix(residual_gradient, n_tokens, n, "rms_norm_backward: residual_gradient");
  const bool wants_weight = !weight_gradient.empty();
  if (wants_weight) {
    check_vector(weight_gradient, n, DType::f32, "rms_norm_backward: weight_gradient");
  }

  // Each thread sums the weight's gradient over its own rows.
  const ThreadLimit limit(shared_->n_threads);
  const int64_t n_parts = std::min<int64_t>(shared_->n_threads, n_tokens);
  const auto n_sums = static_cast<size_t>(wants_weight ? n_parts * n : 0);
  auto* const sums = scratch_.get<float>(ScratchUse::partial_sums, n_sums);
  std::fill_n(sums, n_sums, 0.0F);
  parallel_tasks(n_parts, n_tokens * n, [&](int64_t part) {
    for (int64_t t = n_tokens * part / n_parts; t < n_tokens * (part + 1) / n_parts; ++t) {
      shared_->kernels.rms_norm_backward(
          floats(residual) + t * residual.strides[0], floats(weight), epsilon,
          floats(out_gradient) + t * out_gradient.strides[0],
          floats(residual_gradient) + t * residual_gradient.strides[0],
          wants_weight ? sums + part * n : nullptr, n);
    }
  });
  for (int64_t part = 0; wants_weight && part < n_parts; ++part) {
    shared_->kernels.add(floats(weight_gradient), sums + part * n, n);
  }
}

}  // namespace okapi::cpu
