// AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101): everything it does to a parameter in one
// pass, which memory bounds.
#include <cmath>
#include <string>

#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/threads.h"

namespace okapi::cpu {

namespace {

AdamWFactors make_factors(const AdamWStep& step) {
  const auto n = static_cast<double>(step.step);
  const auto beta1 = static_cast<double>(step.beta1);
  const auto beta2 = static_cast<double>(step.beta2);
  const auto rate = static_cast<double>(step.learning_rate);
  AdamWFactors factors;
  factors.gradient_scale = step.gradient_scale;
  factors.keep1 = step.beta1;
  factors.add1 = static_cast<float>(1.0 - beta1);
  factors.keep2 = step.beta2;
  factors.add2 = static_cast<float>(1.0 - beta2);
  factors.decay = static_cast<float>(1.0 - rate * static_cast<double>(step.weight_decay));
  factors.step_size = static_cast<float>(rate / (1.0 - std::pow(beta1, n)));
  factors.second_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, n)));
  factors.epsilon = step.epsilon;
  return factors;
}

}  // namespace

void CpuStream::adamw(TensorView parameter, ConstTensorView gradient, TensorView first_moment,
                      TensorView second_moment, const AdamWStep& step) {
  const int64_t n = parameter.count();
  check_contiguous(parameter, n, "adamw: parameter");
  check_contiguous(gradient, n, "adamw: gradient");
  check_contiguous(first_moment, n, "adamw: first_moment");
  check_contiguous(second_moment, n, "adamw: second_moment");
  if (step.step < 1) {
    throw BackendError("adamw: the first step is 1, found " + std::to_string(step.step));
  }
  if (!(step.beta1 >= 0 && step.beta1 < 1 && step.beta2 >= 0 && step.beta2 < 1)) {
    throw BackendError("adamw: wanted betas from 0 to below 1, found " +
                       std::to_string(step.beta1) + " and " + std::to_string(step.beta2));
  }

  constexpr int64_t kGrain = 1024;
  const AdamWFactors factors = make_factors(step);
  const ThreadLimit limit(shared_->n_threads);
  parallel_ranges(n, kGrain, n, [&](int64_t begin, int64_t end) {
    shared_->kernels.adamw(floats(parameter) + begin, floats(gradient) + begin,
                           floats(first_moment) + begin, floats(second_moment) + begin, end - begin,
                           factors);
  });
}

void CpuStream::refresh(PreparedWeight& weight) {
  if (!cpu_weight(weight).is_trainable()) {
    throw BackendError("refresh: wanted a weight made by trainable_weight");
  }
  // It reads its master: there is nothing to bring up to date.
}

}  // namespace okapi::cpu
