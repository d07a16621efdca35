// Dropout (Srivastava et al. 2014), of the elements that a hash of seed and index chooses.
#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/threads.h"
#include "backends/training_numbers.h"

namespace okapi::cpu {

void CpuStream::dropout(ConstTensorView x, uint64_t seed, float probability, TensorView out) {
  const int64_t n_rows = x.shape[0];
  const int64_t n = x.shape[1];
  check_matrix(x, n_rows, n, "dropout: x");
  check_matrix(out, n_rows, n, "dropout: out");
  const DropoutMask mask = make_dropout_mask(seed, probability);
  const ThreadLimit limit(shared_->n_threads);
  parallel_ranges(n_rows, 1, n_rows * n, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      shared_->kernels.dropout(floats(x) + row * x.strides[0], floats(out) + row * out.strides[0],
                               n, row * n, mask);
    }
  });
}

}  // namespace okapi::cpu
