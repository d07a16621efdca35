// Rows of the embedding table.
#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"

namespace okapi::cuda {

namespace {

template <typename From, typename To>
__global__ void embed_kernel(const From* table, const int32_t* ids, To* out, int64_t n,
                             int64_t out_stride) {
  wait_for_previous_kernel();
  const From* const from = table + ids[blockIdx.x] * n;
  To* const to = out + blockIdx.x * out_stride;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) to[i] = from_float<To>(to_float(from[i]));
}

}  // namespace

void CudaStream::embed(const PreparedWeight& table, std::span<const int32_t> ids, TensorView out) {
  const CudaWeight& rows = cuda_weight(table);
  const auto n_tokens = static_cast<int64_t>(ids.size());
  check_matrix(out, n_tokens, rows.columns, "embed: out");
  for (int32_t id : ids) {
    if (id < 0 || id >= rows.rows) {
      throw BackendError("embed: token id " + std::to_string(id) + " is not below " +
                         std::to_string(rows.rows));
    }
  }
  if (ids.empty()) return;

  const CurrentDevice current(shared_->device);
  begin(n_tokens);
  const auto* const device_ids =
      static_cast<const int32_t*>(queue_.stage(ids.data(), ids.size_bytes()));
  constexpr int kThreads = 256;
  const auto run = [&](const auto* from, auto* to) {
    queue_.launch(embed_kernel<std::decay_t<decltype(*from)>, std::decay_t<decltype(*to)>>,
                  static_cast<unsigned>(n_tokens), kThreads, 0, from, device_ids, to, rows.columns,
                  out.strides[0]);
  };
  const auto run_from = [&](const auto* from) {
    if (out.dtype == DType::bf16) {
      run(from, static_cast<Bf16*>(out.data));
    } else {
      run(from, static_cast<float*>(out.data));
    }
  };
  if (rows.dtype == DType::bf16) {
    run_from(static_cast<const Bf16*>(rows.data()));
  } else {
    run_from(static_cast<const float*>(rows.data()));
  }
}

}  // namespace okapi::cuda
