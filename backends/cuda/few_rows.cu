// Which kernel takes a product of few rows, with how many blocks and how much shared memory.
#include "backends/cuda/few_rows.h"

#include <algorithm>

#include "backends/cuda/checks.h"
#include "backends/cuda/few_rows_kernel.cuh"

namespace okapi::cuda {

namespace {

using namespace few_rows;

/// Any sizes, alignments and dtypes: one warp per weight row, whose lanes divide K.
template <typename X, typename W, typename Out>
__global__ void any_few_rows_kernel(const W* w, const X* x, Out* out, int64_t n, int64_t k, int m,
                                    int64_t x_stride, int64_t out_stride) {
  constexpr int kTokensAtOnce = 8;
  wait_for_previous_kernel();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t row = blockIdx.x * int64_t{blockDim.x / kWarp} + threadIdx.x / kWarp;
  if (row >= n) return;
  const W* const weights = w + row * k;
  for (int first = 0; first < m; first += kTokensAtOnce) {
    float sums[kTokensAtOnce] = {};
    for (int64_t i = lane; i < k; i += kWarp) {
      const float weight = to_float(weights[i]);
#pragma unroll
      for (int j = 0; j < kTokensAtOnce; ++j) {
        if (first + j < m) sums[j] += weight * to_float(x[(first + j) * x_stride + i]);
      }
    }
#pragma unroll
    for (int j = 0; j < kTokensAtOnce; ++j) {
      if (first + j >= m) break;
      const float sum = warp_sum(sums[j]);
      if (lane == 0) out[(first + j) * out_stride + row] = from_float<Out>(sum);
    }
  }
}

/// The shared memory of a block.
template <int kColumns>
size_t block_bytes(RowsIn in, int64_t m, int64_t k) {
  size_t bytes = sizeof(Sums<kColumns>);
  switch (in) {
    case RowsIn::block:
      bytes += Ring<kColumns, RowsIn::block>::kBytes + block_rows_bytes<kColumns>(m, k);
      break;
    case RowsIn::ring:
      bytes += Ring<kColumns, RowsIn::ring>::kBytes;
      break;
    case RowsIn::short_ring:
      bytes += Ring<kColumns, RowsIn::short_ring>::kBytes;
      break;
  }
  return bytes;
}

template <int kColumns, typename Out>
auto kernel_of(RowsIn in, RowsFrom from) {
  auto* kernel = &few_rows_kernel<kColumns, RowsIn::block, RowsFrom::tensor, Out>;
  if (in == RowsIn::ring) kernel = &few_rows_kernel<kColumns, RowsIn::ring, RowsFrom::tensor, Out>;
  if (in == RowsIn::short_ring) {
    kernel = &few_rows_kernel<kColumns, RowsIn::short_ring, RowsFrom::tensor, Out>;
  }
  if constexpr (kColumns == kMostFusedRows) {
    if (from == RowsFrom::norm) {
      kernel = &few_rows_kernel<kColumns, RowsIn::block, RowsFrom::norm, Out>;
    }
  }
  return kernel;
}

/// By the number of columns that the kernel is made for, which is at least m. Blocks share the
/// weight's rows out evenly.
template <int kColumns, typename Out>
void launch_columns(Queue& queue, Arguments a, RowsFrom from, const DeviceSize& device) {
  constexpr size_t kReserved = 1024;  // of each block, by the driver
  const bool is_gated = a.gated != nullptr;
  const int64_t n_units = ((is_gated ? a.n / 2 : a.n) + kUnitRows - 1) / kUnitRows;
  const int64_t n_passes = is_gated ? n_units : (n_units + 1) / 2;
  const auto bytes_of = [&](RowsIn in) { return block_bytes<kColumns>(in, a.m, a.k); };
  const bool fits_block = bytes_of(RowsIn::block) <= device.shared_bytes;
  const bool fits_ring = bytes_of(RowsIn::ring) <= device.shared_bytes;
  // Of long rows that a block goes through only once, not all need have come before it begins.
  const bool is_long = steps_of(a.k) > Ring<kColumns, RowsIn::block>::kStages;
  const bool is_once = n_passes <= device.n_processors && is_long && kColumns > kMostFusedRows;
  RowsIn in = fits_ring ? RowsIn::ring : RowsIn::short_ring;
  if (fits_block && !(fits_ring && is_once)) in = RowsIn::block;

  size_t bytes = bytes_of(in);
  int64_t n_blocks = std::min<int64_t>(device.n_processors, n_units);
  if (in != RowsIn::block && is_once) {
    // Half a pass would bring as many rows as a whole one. One block to a multiprocessor, that is
    // what takes at least half its memory.
    n_blocks = n_passes;
    bytes = std::max(bytes, device.shared_bytes / 2);
  } else if (2 * (bytes + kReserved) <= device.shared_bytes + kReserved) {
    n_blocks = std::min<int64_t>(2 * int64_t{device.n_processors}, n_units);
  }
  a.n_units = static_cast<int32_t>(n_units / n_blocks);
  a.n_larger_blocks = static_cast<int32_t>(n_units % n_blocks);
  queue.launch_reading_ahead(kernel_of<kColumns, Out>(in, from), static_cast<unsigned>(n_blocks),
                             kThreads, bytes - sizeof(Sums<kColumns>), a);
}

/// For devices without room for so many rows at a time.
template <typename Out>
void launch_halves(Queue& queue, Arguments a, const DeviceSize& device) {
  constexpr int kAtOnce = 16;
  const int m = a.m;
  a.m = kAtOnce;
  launch_columns<kAtOnce, Out>(queue, a, RowsFrom::tensor, device);
  a.m = m - kAtOnce;
  a.x += kAtOnce * a.x_stride;
  a.out = static_cast<Out*>(a.out) + kAtOnce * a.out_stride;
  if (a.residual != nullptr) a.residual += kAtOnce * a.residual_stride;
  if (a.gated != nullptr) a.gated += kAtOnce * a.gated_stride;
  launch_columns<kAtOnce, Out>(queue, a, RowsFrom::tensor, device);
}

template <typename Out>
void launch_fast(Queue& queue, const FewRowsProduct& p, const DeviceSize& device) {
  const int64_t m = p.out.shape[0];
  const int64_t n = p.out.shape[1];
  Arguments a = {};
  a.w = static_cast<const Bf16*>(p.w);
  a.x = static_cast<const Bf16*>(p.x.data);
  a.out = p.out.data;
  a.rows = static_cast<Bf16*>(p.rows.data);
  a.residual = static_cast<Bf16*>(p.residual.data);
  a.gated = static_cast<Bf16*>(p.gated.data);
  a.gain = static_cast<const float*>(p.gain);
  a.x_stride = p.x.strides[0];
  a.out_stride = p.out.strides[0];
  a.rows_stride = p.rows.strides[0];
  a.residual_stride = p.residual.strides[0];
  a.gated_stride = p.gated.strides[0];
  a.n = static_cast<int32_t>(n);
  a.k = static_cast<int32_t>(p.k);
  a.m = static_cast<int32_t>(m);
  a.epsilon = p.epsilon;

  if (m <= kMostFusedRows) {
    launch_columns<static_cast<int>(kMostFusedRows), Out>(queue, a, p.from, device);
  } else if (m <= 8) {
    launch_columns<8, Out>(queue, a, p.from, device);
  } else if (m <= 16) {
    launch_columns<16, Out>(queue, a, p.from, device);
  } else if (block_bytes<32>(RowsIn::short_ring, m, p.k) <= device.shared_bytes) {
    launch_columns<32, Out>(queue, a, p.from, device);
  } else {
    launch_halves<Out>(queue, a, device);
  }
}

template <typename X, typename W>
void launch_any(Queue& queue, const FewRowsProduct& p) {
  constexpr int64_t kWarps = 4;
  const int64_t n = p.out.shape[1];
  const auto run = [&](auto* to) {
    queue.launch(any_few_rows_kernel<X, W, std::decay_t<decltype(*to)>>,
                 static_cast<unsigned>((n + kWarps - 1) / kWarps), kWarps * kWarp, 0,
                 static_cast<const W*>(p.w), static_cast<const X*>(p.x.data), to, n, p.k,
                 static_cast<int>(p.x.shape[0]), p.x.strides[0], p.out.strides[0]);
  };
  if (p.out.dtype == DType::bf16) {
    run(static_cast<Bf16*>(p.out.data));
  } else {
    run(static_cast<float*>(p.out.data));
  }
}

}  // namespace

bool takes_tensor_cores(const FewRowsProduct& p) {
  return p.x.dtype == DType::bf16 && p.weight_dtype == DType::bf16 && p.k % 8 == 0 &&
         is_aligned(p.x) && reinterpret_cast<uintptr_t>(p.w) % 16 == 0;
}

bool fits_fused(int64_t m, int64_t k, const DeviceSize& device) {
  constexpr int kColumns = static_cast<int>(kMostFusedRows);
  return m <= kMostFusedRows && token_bytes(m, k) <= kMostTokenBytes &&
         block_bytes<kColumns>(RowsIn::block, m, k) <= device.shared_bytes;
}

void multiply_few_rows(Queue& queue, const FewRowsProduct& p, const DeviceSize& device) {
  if (takes_tensor_cores(p)) {
    if (p.out.dtype == DType::bf16) {
      launch_fast<Bf16>(queue, p, device);
    } else {
      launch_fast<float>(queue, p, device);
    }
  } else if (p.x.dtype == DType::bf16 && p.weight_dtype == DType::bf16) {
    launch_any<Bf16, Bf16>(queue, p);
  } else if (p.x.dtype == DType::bf16) {
    launch_any<Bf16, float>(queue, p);
  } else if (p.weight_dtype == DType::bf16) {
    launch_any<float, Bf16>(queue, p);
  } else {
    launch_any<float, float>(queue, p);
  }
}

}  // namespace okapi::cuda
