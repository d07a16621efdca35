// Rows of a matrix by index, packed.
#include <algorithm>

#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"

namespace okapi::cpu {

void CpuStream::gather_rows(ConstTensorView x, std::span<const int64_t> rows, TensorView out) {
  const int64_t n = x.shape[1];
  check_matrix(x, x.shape[0], n, "gather_rows: x");
  check_matrix(out, static_cast<int64_t>(rows.size()), n, "gather_rows: out");
  float* to = floats(out);
  for (int64_t row : rows) {
    if (row < 0 || row >= x.shape[0]) {
      throw BackendError("gather_rows: row " + std::to_string(row) + " of " +
                         std::to_string(x.shape[0]));
    }
    std::copy_n(floats(x) + row * x.strides[0], n, to);
    to += out.strides[0];
  }
}

}  // namespace okapi::cpu
