// Rows of the embedding table.
#include <algorithm>

#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/threads.h"

namespace okapi::cpu {

void CpuStream::embed(const PreparedWeight& table, std::span<const int32_t> ids, TensorView out) {
  const CpuWeight& rows = cpu_weight(table);
  const auto n_tokens = static_cast<int64_t>(ids.size());
  const int64_t n = rows.columns;
  check_matrix(out, n_tokens, n, "embed: out");
  for (int32_t id : ids) {
    if (id < 0 || id >= rows.rows) {
      throw BackendError("embed: token id " + std::to_string(id) + " is not below " +
                         std::to_string(rows.rows));
    }
  }

  const ThreadLimit limit(shared_->n_threads);
  parallel_ranges(n_tokens, 1, n_tokens * n, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* const to = floats(out) + t * out.strides[0];
      if (rows.dtype == DType::bf16) {
        shared_->kernels.widen_bf16(rows.bf16_row(ids[t]), to, n);
      } else {
        std::copy_n(rows.f32_row(ids[t]), n, to);
      }
    }
  });
}

}  // namespace okapi::cpu
