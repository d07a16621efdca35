// Rows of the embedding table, and their gradient.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

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

/// Eight elements a thread, rows along y.
template <typename From, typename To>
__global__ void embed_by_eight_kernel(const From* table, const int32_t* ids, To* out, int64_t n,
                                      int64_t n_rows, int64_t out_stride) {
  wait_for_previous_kernel();
  const int64_t row = blockIdx.x * int64_t{blockDim.y} + threadIdx.y;
  if (row >= n_rows) return;
  for (int64_t i = threadIdx.x * int64_t{8}; i < n; i += blockDim.x * int64_t{8}) {
    store_eight(out + row * out_stride + i, load_eight(table + ids[row] * n + i));
  }
}

/// Rows of a token among those sorted by token, some of them at a time.
struct Piece {
  int32_t id;
  int32_t first;  ///< among the sorted rows
  int32_t n;
  int32_t slot;  ///< where their sum goes, to be added later; -1: to the table at once
};
/// A token whose rows are several pieces.
struct Merge {
  int32_t id;
  int32_t first_slot;
  int32_t n_slots;
};

template <typename T>
__global__ void sum_rows_kernel(const T* out_gradient, int64_t stride, const int32_t* rows,
                                const Piece* pieces, float* table, int64_t table_stride,
                                float* slots, int64_t n) {
  wait_for_previous_kernel();
  const Piece piece = pieces[blockIdx.x];
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    float sum = 0;
#pragma unroll 4
    for (int r = 0; r < piece.n; ++r)
      sum += to_float(out_gradient[rows[piece.first + r] * stride + i]);
    if (piece.slot < 0) {
      table[piece.id * table_stride + i] += sum;
    } else {
      slots[piece.slot * n + i] = sum;
    }
  }
}

__global__ void add_slots_kernel(const Merge* merges, const float* slots, float* table,
                                 int64_t table_stride, int64_t n) {
  wait_for_previous_kernel();
  const Merge merge = merges[blockIdx.x];
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    float sum = 0;
#pragma unroll 4
    for (int s = 0; s < merge.n_slots; ++s) sum += slots[(merge.first_slot + s) * n + i];
    table[merge.id * table_stride + i] += sum;
  }
}

void check_ids(const char* what, std::span<const int32_t> ids, int64_t n_rows) {
  for (int32_t id : ids) {
    if (id < 0 || id >= n_rows) {
      throw BackendError(std::string(what) + ": token id " + std::to_string(id) + " is not below " +
                         std::to_string(n_rows));
    }
  }
}

}  // namespace

void CudaStream::embed(const PreparedWeight& table, std::span<const int32_t> ids, TensorView out) {
  const CudaWeight& rows = cuda_weight(table);
  const auto n_tokens = static_cast<int64_t>(ids.size());
  check_matrix(out, n_tokens, rows.columns, "embed: out");
  check_ids("embed", ids, rows.rows);
  if (ids.empty()) return;

  const CurrentDevice current(shared_->device);
  begin(n_tokens);
  const auto* const device_ids =
      static_cast<const int32_t*>(queue_.stage(ids.data(), ids.size_bytes()));
  constexpr int kThreads = 256;
  const bool by_eight = rows.columns % 8 == 0 && is_aligned(rows.view()) && is_aligned(out);
  const auto run = [&](const auto* from, auto* to) {
    using From = std::decay_t<decltype(*from)>;
    using To = std::decay_t<decltype(*to)>;
    if (by_eight) {
      const int64_t columns =
          std::min<int64_t>(kThreads, (rows.columns / 8 + kWarp - 1) / kWarp * kWarp);
      const int64_t rows_at_once = kThreads / columns;
      queue_.launch(embed_by_eight_kernel<From, To>,
                    static_cast<unsigned>((n_tokens + rows_at_once - 1) / rows_at_once),
                    dim3(static_cast<unsigned>(columns), static_cast<unsigned>(rows_at_once)), 0,
                    from, device_ids, to, rows.columns, n_tokens, out.strides[0]);
      return;
    }
    queue_.launch(embed_kernel<From, To>, static_cast<unsigned>(n_tokens), kThreads, 0, from,
                  device_ids, to, rows.columns, out.strides[0]);
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

// Each row of the table has one writer, which adds the tokens in their order, kPieceRows at a time.
void CudaStream::embed_backward(std::span<const int32_t> ids, ConstTensorView out_gradient,
                                TensorView table_gradient) {
  const auto n_tokens = static_cast<int64_t>(ids.size());
  const int64_t n = table_gradient.shape[1];
  check_matrix(out_gradient, n_tokens, n, "embed_backward: out_gradient");
  check_matrix(table_gradient, table_gradient.shape[0], n, "embed_backward: table_gradient");
  check_gradient_dtype(table_gradient, "embed_backward: table_gradient");
  check_ids("embed_backward", ids, table_gradient.shape[0]);
  if (ids.empty()) return;

  constexpr int32_t kPieceRows = 32;
  std::vector<int32_t> ends(static_cast<size_t>(table_gradient.shape[0]) + 1);
  for (const int32_t id : ids) ++ends[static_cast<size_t>(id) + 1];
  for (size_t i = 1; i < ends.size(); ++i) ends[i] += ends[i - 1];
  std::vector<Piece> pieces;
  std::vector<Merge> merges;
  int32_t n_slots = 0;
  for (size_t id = 0; id + 1 < ends.size(); ++id) {
    const int32_t count = ends[id + 1] - ends[id];
    const bool is_cut = count > kPieceRows;
    const int32_t first_slot = n_slots;
    for (int32_t at = 0; at < count; at += kPieceRows) {
      pieces.push_back({static_cast<int32_t>(id), ends[id] + at, std::min(kPieceRows, count - at),
                        is_cut ? n_slots++ : -1});
    }
    if (is_cut) merges.push_back({static_cast<int32_t>(id), first_slot, n_slots - first_slot});
  }
  std::vector<int32_t> rows(ids.size());
  for (size_t t = 0; t < ids.size(); ++t) {
    rows[static_cast<size_t>(ends[static_cast<size_t>(ids[t])]++)] = static_cast<int32_t>(t);
  }

  const CurrentDevice current(shared_->device);
  begin_training();
  auto* const slots =
      static_cast<float*>(scratch(partial_sums_, static_cast<size_t>(n_slots * n) * sizeof(float)));
  // At once: staging a second time may move what the first one staged.
  const size_t pieces_at = rows.size() * sizeof(int32_t);
  const size_t merges_at = pieces_at + pieces.size() * sizeof(Piece);
  std::vector<std::byte> bytes(merges_at + merges.size() * sizeof(Merge));
  std::memcpy(bytes.data(), rows.data(), pieces_at);
  std::memcpy(bytes.data() + pieces_at, pieces.data(), merges_at - pieces_at);
  std::copy_n(reinterpret_cast<const std::byte*>(merges.data()), bytes.size() - merges_at,
              bytes.data() + merges_at);
  const auto* const staged =
      static_cast<const std::byte*>(queue_.stage(bytes.data(), bytes.size()));
  const auto* const device_rows = reinterpret_cast<const int32_t*>(staged);
  const auto* const device_pieces = reinterpret_cast<const Piece*>(staged + pieces_at);
  const auto* const device_merges = reinterpret_cast<const Merge*>(staged + merges_at);
  constexpr unsigned kThreads = 256;
  auto* const table = static_cast<float*>(table_gradient.data);
  const auto run = [&](const auto* gradient) {
    queue_.launch(sum_rows_kernel<std::decay_t<decltype(*gradient)>>,
                  static_cast<unsigned>(pieces.size()), kThreads, 0, gradient,
                  out_gradient.strides[0], device_rows, device_pieces, table,
                  table_gradient.strides[0], slots, n);
  };
  if (out_gradient.dtype == DType::bf16) {
    run(static_cast<const Bf16*>(out_gradient.data));
  } else {
    run(static_cast<const float*>(out_gradient.data));
  }
  queue_.launch(add_slots_kernel, static_cast<unsigned>(merges.size()), kThreads, 0, device_merges,
                slots, table, table_gradient.strides[0], n);
}

}  // namespace okapi::cuda
