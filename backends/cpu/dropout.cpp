// Dropout (Srivastava et al. 2014), of the elements that a hash of seed and index chooses.
#include <cmath>
#include <string>

#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/threads.h"

namespace okapi::cpu {

namespace {

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): neighbouring seeds become unrelated
/// keys.
uint64_t mixed(uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

DropoutMask make_mask(uint64_t seed, float probability) {
  const uint64_t key = mixed(seed);
  const double first_kept = std::nearbyint(static_cast<double>(probability) * 0x1p32);
  return {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32),
          static_cast<uint32_t>(std::min(first_kept, 0x1p32 - 1)), 1.0F / (1.0F - probability)};
}

}  // namespace

void CpuStream::dropout(ConstTensorView x, uint64_t seed, float probability, TensorView out) {
  const int64_t n_rows = x.shape[0];
  const int64_t n = x.shape[1];
  check_matrix(x, n_rows, n, "dropout: x");
  check_matrix(out, n_rows, n, "dropout: out");
  if (!(probability >= 0.0F && probability < 1.0F)) {
    throw BackendError("dropout: wanted a probability from 0 to below 1, found " +
                       std::to_string(probability));
  }
  const DropoutMask mask = make_mask(seed, probability);
  const ThreadLimit limit(shared_->n_threads);
  parallel_ranges(n_rows, 1, n_rows * n, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      shared_->kernels.dropout(floats(x) + row * x.strides[0], floats(out) + row * out.strides[0],
                               n, row * n, mask);
    }
  });
}

}  // namespace okapi::cpu
