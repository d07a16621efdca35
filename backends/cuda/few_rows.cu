// The weight is read once from device memory and goes to the tensor cores as it comes: 16 weight
// rows are the rows of the matrix instruction, and the tokens its columns. The eight warps of a
// block divide K among them, in a fixed pattern, and their sums are added in the order of the
// warps. Every warp copies what it will use itself into a ring in shared memory, several steps
// ahead, so that the stream of loads never waits for a barrier, nor stops between one set of rows
// and the next. One instruction copies whole lines of 128 bytes: halves of lines, as the matrix
// instruction would have each thread fetch its own, come at seven eighths of the rate. (Registers
// as the ring were slower: the few scoreboards of a warp make it wait for the youngest loads with
// the oldest.)
//
// What may be done with a result on the way out, the addition to a residual or the gate, is: it is
// done once, where taking it into the product that reads it would repeat it in every block.
//
// Weights do not depend on what comes before: a block fills its ring before it waits for the kernel
// that makes its rows. There are as many blocks as fit at once, two on a multiprocessor and no
// fewer: with room for more, those that are free early would get more than their share.
#include "backends/cuda/few_rows.h"

#include <algorithm>

#include "backends/cuda/checks.h"
#include "backends/cuda/device.cuh"
#include "backends/cuda/gate.cuh"
#include "backends/cuda/mma.cuh"

namespace okapi::cuda {

namespace {

constexpr int kRows = 16;     // of a matrix instruction
constexpr int kUnitRows = 8;  // blocks share the rows out in units of so many
constexpr int kWarpsPerBlock = 8;
constexpr int kThreads = kWarpsPerBlock * kWarp;
constexpr int kStep = 64;  // of K per warp and step: two pieces of eight per thread and row
constexpr int kPieces = 4;
constexpr int kStagePieces = kPieces * kThreads;
constexpr int kLinePieces = kStep / 8;  // 128 bytes
constexpr int kRowsAtOnce = kWarp / kLinePieces;
template <int kColumns>
constexpr int kStages = kColumns <= 4 ? 5 : 4;
template <int kColumns>
constexpr size_t kRingBytes = size_t{kStages<kColumns>} * kStagePieces * sizeof(uint4);
constexpr size_t kMostTokenBytes = size_t{36} << 10;  // of fused rows: two blocks fit side by side

template <int kColumns>
using Sums = float[2][kWarpsPerBlock][kRows][kColumns + 1];

struct Arguments {
  const Bf16* w;
  const Bf16* x;
  void* out;
  Bf16* rows;
  Bf16* residual;
  Bf16* gated;
  const float* gain;
  int64_t x_stride;
  int64_t out_stride;
  int64_t rows_stride;
  int64_t residual_stride;
  int64_t gated_stride;
  int32_t n;
  int32_t k;
  int32_t m;
  float epsilon;
};

/// Rows in shared memory are 64 bytes longer than they need be: two of them, as eight lanes read
/// them at once, then lie in different banks where K is a multiple of 64.
__host__ __device__ inline int shared_row(int k) { return k + 32; }
size_t token_bytes(int64_t m, int64_t k) {
  return static_cast<size_t>(m) * static_cast<size_t>(shared_row(static_cast<int>(k))) *
         sizeof(Bf16);
}

/// Elements of a row that a thread holds while it is normed, in eights.
constexpr int kHeld = static_cast<int>(kMostNormedColumns) / (kThreads * 8);

/// One row that is normed on the way, as rms_norm.cu does it, to the bit. The first block also
/// leaves it in memory.
__device__ inline void make_normed_row(const Arguments& a, const Eight* gains, int token, Bf16* to,
                                       float* reduction) {
  const Bf16* const x = a.x + token * a.x_stride;
  Bf16* const kept = a.rows + token * a.rows_stride;
  Eight held[kHeld];
  float squares = 0;
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int i = (static_cast<int>(threadIdx.x) + j * kThreads) * 8;
    if (i >= a.k) continue;
    held[j] = load_eight(x + i);
#pragma unroll
    for (int e = 0; e < 8; ++e) squares += held[j].at[e] * held[j].at[e];
  }
  const float scale = rsqrtf(block_sum(squares, reduction) / static_cast<float>(a.k) + a.epsilon);
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int i = (static_cast<int>(threadIdx.x) + j * kThreads) * 8;
    if (i >= a.k) continue;
#pragma unroll
    for (int e = 0; e < 8; ++e) held[j].at[e] *= scale * gains[j].at[e];
    store_eight(to + i, held[j]);
    if (blockIdx.x == 0) store_eight(kept + i, held[j]);
  }
}

/// One row as it lies there. Not by asynchronous copies where there are few: to wait for them is to
/// wait for the weights asked for before them.
__device__ inline void copy_row(const Arguments& a, int token, Bf16* to) {
  constexpr int kAtOnce = 6;
  constexpr int kApart = kThreads * 8;
  const Bf16* const x = a.x + token * a.x_stride;
  for (int first = static_cast<int>(threadIdx.x) * 8; first < a.k; first += kAtOnce * kApart) {
    uint4 pieces[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const int i = first + j * kApart;
      if (i < a.k) pieces[j] = *reinterpret_cast<const uint4*>(x + i);
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      const int i = first + j * kApart;
      if (i < a.k) *reinterpret_cast<uint4*>(to + i) = pieces[j];
    }
  }
}

/// Brings the rows to shared memory.
template <RowsFrom kFrom, bool kFew>
__device__ inline void make_rows(const Arguments& a, const Eight* gains, Bf16* to,
                                 float* reduction) {
  const int row_length = shared_row(a.k);
  if constexpr (kFew) {
    for (int token = 0; token < a.m; ++token) {
      if constexpr (kFrom == RowsFrom::norm) {
        make_normed_row(a, gains, token, to + token * row_length, reduction);
      } else {
        copy_row(a, token, to + token * row_length);
      }
    }
  } else {
    const int pieces = a.k / 8;
    for (int i = static_cast<int>(threadIdx.x); i < a.m * pieces; i += kThreads) {
      const int token = i / pieces;
      const int column = i % pieces * 8;
      copy_async(to + token * row_length + column, a.x + token * a.x_stride + column, true);
    }
    commit_copies();
    wait_for_copies<0>();
  }
}

/// The order of K within a step is free as long as both operands have the same: thread t of a group
/// of four takes elements 8t .. 8t + 7 of each 32, so that every piece is 16 bytes.
template <int kColumns, bool kShared, RowsFrom kFrom, typename Out>
__global__ void __launch_bounds__(kThreads, 2) few_rows_kernel(Arguments a) {
  constexpr int kTiles = (kColumns + 7) / 8;
  constexpr int kStages = cuda::kStages<kColumns>;
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ Sums<kColumns> sums;
  auto* const rows = reinterpret_cast<Bf16*>(memory + kRingBytes<kColumns>);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int g = lane / 4;
  const int t = lane % 4;
  auto* const ring = reinterpret_cast<uint4*>(memory) + warp * kPieces * kWarp;
  // Two units of rows are taken at once: two that follow each other, or, where the result is gated,
  // one of gates and that of the ups which go with them.
  const bool is_gated = a.gated != nullptr;
  const int n_sharable = is_gated ? a.n / 2 : a.n;
  const int lower_rows = is_gated ? n_sharable : kUnitRows;  // from upper to lower rows
  const int n_units_at_once = is_gated ? 1 : 2;
  const int n_units = (n_sharable + kUnitRows - 1) / kUnitRows;
  const int first_unit = static_cast<int>(int64_t{n_units} * blockIdx.x / gridDim.x);
  const int end_unit = static_cast<int>(int64_t{n_units} * (blockIdx.x + 1) / gridDim.x);
  const int n_steps = (a.k + kStep * kWarpsPerBlock - 1) / (kStep * kWarpsPerBlock);
  const int end_row = min(end_unit * kUnitRows, n_sharable);

  // A warp asks for whole lines, four rows at a time, whoever of its threads will need them. Every
  // second row lies with its halves exchanged, so that two rows that are read at once lie in
  // different banks.
  const int copied_row = lane / kLinePieces;
  const int copied_piece = copied_row * kLinePieces + (lane % kLinePieces ^ copied_row % 2 * 4);
  const int read_row = g * kLinePieces;
  const int read_piece = t ^ g % 2 * 4;

  // What is to be copied next: a step of K for two units of rows. Every step is committed, also
  // past the end, so that the count of what is still out is right.
  int load_unit = first_unit;
  int load_step = 0;
  int load_stage = 0;
  const auto load = [&] {
    if (load_unit < end_unit) {
      const int row = load_unit * kUnitRows + copied_row;
      const int column = (load_step * kWarpsPerBlock + warp) * kStep + lane % kLinePieces * 8;
      const Bf16* const from = a.w + int64_t{row} * a.k + column;
      uint4* const to = ring + load_stage * kStagePieces + copied_piece;
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        const int above = i % 2 * kRowsAtOnce + i / 2 * lower_rows;
        const bool is_there = row + (is_gated ? i % 2 : i) * kRowsAtOnce < end_row && column < a.k;
        copy_async(to + i * kWarp, is_there ? from + int64_t{above} * a.k : a.w, is_there);
      }
      load_stage = (load_stage + 1) % kStages;
      if (++load_step == n_steps) {
        load_step = 0;
        load_unit += n_units_at_once;
      }
    }
    commit_copies();
  };

  // Weights never change: the first are on their way before the kernel that makes x has finished.
  let_next_kernel_begin();
#pragma unroll
  for (int stage = 0; stage + 1 < kStages; ++stage) load();
  Eight gains[kFrom == RowsFrom::norm ? kHeld : 1];
  if constexpr (kFrom == RowsFrom::norm) {
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      const int i = (static_cast<int>(threadIdx.x) + j * kThreads) * 8;
      if (i < a.k) gains[j] = load_eight(a.gain + i);
    }
  }
  wait_for_previous_kernel();
  if constexpr (kShared) {
    make_rows<kFrom, kColumns <= kMostFusedRows>(a, gains, rows, &sums[0][0][0][0]);
    __syncthreads();
  }

  int stage = 0;
  int parity = 0;
  for (int unit = first_unit; unit < end_unit; unit += n_units_at_once) {
    const int n_rows = end_row - unit * kUnitRows;  // from here on
    // Asked for early, so that it is there when the sums are; with a residual all have a thread.
    const int own_row = static_cast<int>(threadIdx.x) % kRows;
    Bf16* const own_residual =
        a.residual != nullptr && own_row < n_rows && static_cast<int>(threadIdx.x) < kRows * a.m
            ? a.residual + threadIdx.x / kRows * a.residual_stride + unit * kUnitRows + own_row
            : nullptr;
    const float before = own_residual != nullptr ? to_float(*own_residual) : 0.0F;
    float accumulated[kTiles][4] = {};
    for (int step = 0; step < n_steps; ++step) {
      wait_for_copies<kStages - 2>();
      __syncwarp();  // each has waited for its own copies only, and has read the step before
      const uint4* const from = ring + stage * kStagePieces + read_row;
      uint4 piece[kPieces];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        piece[2 * half] = from[read_piece ^ half * 4];
        piece[2 * half + 1] = from[(read_piece ^ half * 4) + kRows / 2 * kLinePieces];
      }
      stage = (stage + 1) % kStages;
      load();  // into the stage used up in the step before
      const int at = (step * kWarpsPerBlock + warp) * kStep + t * 8;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint4 u = piece[2 * half];
        const uint4 l = piece[2 * half + 1];
        const int column = at + half * 32;
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          const int token = tile * 8 + g;
          uint4 v = {0, 0, 0, 0};
          if (token < a.m && column < a.k) {
            v = *reinterpret_cast<const uint4*>(kShared ? rows + token * shared_row(a.k) + column
                                                        : a.x + token * a.x_stride + column);
          }
          mma_bf16(accumulated[tile], u.x, l.x, u.y, l.y, v.x, v.y);
          mma_bf16(accumulated[tile], u.z, l.z, u.w, l.w, v.z, v.w);
        }
      }
    }

    auto& own = sums[parity];
    parity ^= 1;  // the other half may still be read
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      if (tile * 8 + 2 * t >= kColumns) continue;
      own[warp][g][tile * 8 + 2 * t] = accumulated[tile][0];
      own[warp][g][tile * 8 + 2 * t + 1] = accumulated[tile][1];
      own[warp][g + 8][tile * 8 + 2 * t] = accumulated[tile][2];
      own[warp][g + 8][tile * 8 + 2 * t + 1] = accumulated[tile][3];
    }
    __syncthreads();
    const auto sum_of = [&](int row, int token) {
      float sum = 0;
#pragma unroll
      for (int other = 0; other < kWarpsPerBlock; ++other) sum += own[other][row][token];
      return from_float<Out>(sum);
    };
    for (int i = static_cast<int>(threadIdx.x); i < kRows * a.m; i += kThreads) {
      const int row = i % kRows;
      const int token = i / kRows;
      if ((is_gated ? row % kUnitRows : row) >= n_rows) continue;
      const int column = unit * kUnitRows + row % kUnitRows + row / kUnitRows * lower_rows;
      const Out result = sum_of(row, token);
      static_cast<Out*>(a.out)[token * a.out_stride + column] = result;
      if (own_residual != nullptr) *own_residual = from_float<Bf16>(before + to_float(result));
      if (is_gated && row < kUnitRows) {
        const float up = to_float(sum_of(row + kUnitRows, token));
        a.gated[token * a.gated_stride + column] = from_float<Bf16>(silu(to_float(result)) * up);
      }
    }
  }
}

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

/// By the number of columns that the kernel is made for, which is at least m. Blocks share the
/// weight's rows out evenly.
template <int kColumns, typename Out>
void launch_columns(Queue& queue, const Arguments& a, RowsFrom from, const DeviceSize& device) {
  const int64_t n_sharable = a.gated != nullptr ? a.n / 2 : a.n;
  const int64_t n_units = (n_sharable + kUnitRows - 1) / kUnitRows;
  const size_t token_shared = token_bytes(a.m, a.k);
  const bool is_shared =
      kRingBytes<kColumns> + sizeof(Sums<kColumns>) + token_shared <= device.shared_bytes;
  auto* kernel = &few_rows_kernel<kColumns, false, RowsFrom::tensor, Out>;
  if (is_shared) kernel = &few_rows_kernel<kColumns, true, RowsFrom::tensor, Out>;
  if constexpr (kColumns == kMostFusedRows) {
    if (from == RowsFrom::norm) kernel = &few_rows_kernel<kColumns, true, RowsFrom::norm, Out>;
  }
  const size_t dynamic = kRingBytes<kColumns> + (is_shared ? token_shared : 0);
  constexpr size_t kReserved = 1024;  // of each block, by the driver
  const bool fits_twice =
      2 * (dynamic + sizeof(Sums<kColumns>) + kReserved) <= device.shared_bytes + kReserved;
  const int64_t n_blocks = int64_t{device.n_processors} * (fits_twice ? 2 : 1);
  queue.launch_reading_ahead(kernel, static_cast<unsigned>(std::min(n_blocks, n_units)), kThreads,
                             dynamic, a);
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
  } else {
    launch_columns<32, Out>(queue, a, p.from, device);
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
  return m <= kMostFusedRows && token_bytes(m, k) <= kMostTokenBytes &&
         kRingBytes<kMostFusedRows> + sizeof(Sums<kMostFusedRows>) + token_bytes(m, k) <=
             device.shared_bytes;
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
