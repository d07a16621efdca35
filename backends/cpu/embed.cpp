// Rows of the embedding table.
#include <algorithm>
#include <string>

#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/threads.h"

namespace okapi::cpu {

namespace {

void check_ids(const std::string& what, std::span<const int32_t> ids, int64_t n_rows) {
  for (int32_t id : ids) {
    if (id < 0 || id >= n_rows) {
      throw BackendError(what + ": token id " + std::to_string(id) + " is not below " +
                         std::to_string(n_rows));
    }
  }
}

}  // namespace

void CpuStream::embed(const PreparedWeight& table, std::span<const int32_t> ids, TensorView out) {
  const CpuWeight& rows = cpu_weight(table);
  const auto n_tokens = static_cast<int64_t>(ids.size());
  const int64_t n = rows.columns;
  check_matrix(out, n_tokens, n, "embed: out");
  check_ids("embed", ids, rows.rows);

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

// An id may come many times: threads divide the columns, so that each sum has one writer and the
// order of the tokens.
void CpuStream::embed_backward(std::span<const int32_t> ids, ConstTensorView out_gradient,
                               TensorView table_gradient) {
  const auto n_tokens = static_cast<int64_t>(ids.size());
  const int64_t n = table_gradient.shape[1];
  check_matrix(out_gradient, n_tokens, n, "embed_backward: out_gradient");
  check_matrix(table_gradient, table_gradient.shape[0], n, "embed_backward: table_gradient");
  check_ids("embed_backward", ids, table_gradient.shape[0]);

  constexpr int64_t kGrain = 16;  // a cache line
  const ThreadLimit limit(shared_->n_threads);
  parallel_ranges(n, kGrain, n_tokens * n, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < n_tokens; ++t) {
      shared_->kernels.add(floats(table_gradient) + ids[t] * table_gradient.strides[0] + begin,
                           floats(out_gradient) + t * out_gradient.strides[0] + begin, end - begin);
    }
  });
}

}  // namespace okapi::cpu
