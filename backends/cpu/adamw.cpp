// AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101): everything it does to a parameter in one
// pass, which memory bounds.
#include <span>

#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/threads.h"
#include "backends/training_numbers.h"

namespace okapi::cpu {

void CpuStream::adamw(std::span<const AdamWUpdate> updates) {
  constexpr int64_t kGrain = 1024;
  const ThreadLimit limit(shared_->n_threads);
  for (const AdamWUpdate& update : updates) {
    const int64_t n = update.parameter.count();
    check_contiguous(update.parameter, n, "adamw: parameter");
    check_contiguous(update.gradient, n, "adamw: gradient");
    check_contiguous(update.first_moment, n, "adamw: first_moment");
    check_contiguous(update.second_moment, n, "adamw: second_moment");
    const AdamWFactors factors = make_adamw_factors(update.step);
    parallel_ranges(n, kGrain, n, [&](int64_t begin, int64_t end) {
      shared_->kernels.adamw(floats(update.parameter) + begin, floats(update.gradient) + begin,
                             floats(update.first_moment) + begin,
                             floats(update.second_moment) + begin, end - begin, factors);
    });
  }
}

void CpuStream::refresh(std::span<PreparedWeight* const> weights) {
  for (const PreparedWeight* weight : weights) {
    if (!cpu_weight(*weight).is_trainable()) {
      throw BackendError("refresh: wanted a weight made by trainable_weight");
    }
  }
  // They read their masters: there is nothing to bring up to date.
}

}  // namespace okapi::cpu
