// The largest element of each row.
#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/threads.h"

namespace okapi::cpu {

void CpuStream::argmax(ConstTensorView x, TensorView ids) {
  const int64_t n_rows = x.shape[0];
  const int64_t n = x.shape[1];
  check_matrix(x, n_rows, n, "argmax: x");
  check_vector(ids, n_rows, DType::i32, "argmax: ids");
  if (n < 1) throw BackendError("argmax: rows without elements");

  const ThreadLimit limit(shared_->n_threads);
  parallel_ranges(n_rows, 1, n_rows * n, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      static_cast<int32_t*>(ids.data)[row] =
          static_cast<int32_t>(shared_->kernels.argmax(floats(x) + row * x.strides[0], n));
    }
  });
}

}  // namespace okapi::cpu
