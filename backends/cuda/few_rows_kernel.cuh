// The kernel of a product of few rows.
//
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
// fewer: with room for more, those that are free early would get more than their share. Rows lie
// beside the ring; where they do not fit, or are long and needed only once, they come through it
// with the weights that they meet.
#pragma once

#include "backends/cuda/few_rows_layout.cuh"
#include "backends/cuda/gate.cuh"
#include "backends/cuda/mma.cuh"

namespace okapi::cuda::few_rows {

/// Elements of a row that a thread holds while it is normed, in eights.
constexpr int kHeld = static_cast<int>(kMostNormedColumns) / (kThreads * 8);

/// One row that is normed on the way, as rms_norm.cu does it, to the bit. The first block also
/// leaves it in memory.
__device__ inline void make_normed_row(const Arguments& a, const Eight* gains, int token,
                                       const BlockRows& to, float* reduction) {
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
  const int end = steps_of(a.k) * kBlockStep;
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int i = (static_cast<int>(threadIdx.x) + j * kThreads) * 8;
    if (i >= end) continue;
    uint4 piece = {};
    if (i < a.k) {
#pragma unroll
      for (int e = 0; e < 8; ++e) held[j].at[e] *= scale * gains[j].at[e];
      piece = pack_eight(held[j]);
      if (blockIdx.x == 0) *reinterpret_cast<uint4*>(kept + i) = piece;
    }
    *to.piece(token, i) = piece;
  }
}

/// What this warp reads of the rows, as they lie there. Not by asynchronous copies where there are
/// few: to wait for them is to wait for the weights asked for before them.
__device__ inline void copy_few_rows(const Arguments& a, const BlockRows& to) {
  constexpr int kAtOnce = 6;
  const int n_steps = steps_of(a.k);
  const int line = static_cast<int>(threadIdx.x) % kWarp / kLinePieces;
  for (int token = 0; token < a.m; ++token) {
    const Bf16* const x = a.x + token * a.x_stride;
    for (int first = line; first < n_steps; first += kAtOnce * kRowsAtOnce) {
      uint4 pieces[kAtOnce] = {};
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const int column = copied_column(first + j * kRowsAtOnce);
        if (column < a.k) pieces[j] = *reinterpret_cast<const uint4*>(x + column);
      }
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const int step = first + j * kRowsAtOnce;
        if (step < n_steps) *to.piece(token, copied_column(step)) = pieces[j];
      }
    }
  }
  __syncwarp();
}
/// For more of them. Other warps read beyond the last row what this one has copied.
__device__ inline void copy_rows(const Arguments& a, const BlockRows& to) {
  const int n_steps = steps_of(a.k);
  const int line = static_cast<int>(threadIdx.x) % kWarp / kLinePieces;
  for (int step = 0; step < n_steps; ++step) {
    const int column = copied_column(step);
    const bool is_there = column < a.k;
    const Bf16* from = a.x + line * a.x_stride + (is_there ? column : 0);
    for (int token = line; token < a.m; token += kRowsAtOnce) {
      copy_async(to.piece(token, column), from, is_there);
      from += kRowsAtOnce * a.x_stride;
    }
  }
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
}

/// Brings the rows to shared memory.
template <RowsFrom kFrom, bool kFew>
__device__ inline void make_rows(const Arguments& a, const Eight* gains, const BlockRows& to,
                                 float* reduction) {
  if constexpr (kFrom == RowsFrom::norm) {
    for (int token = 0; token < a.m; ++token) make_normed_row(a, gains, token, to, reduction);
    __syncthreads();
  } else if constexpr (kFew) {
    copy_few_rows(a, to);
  } else {
    copy_rows(a, to);
  }
}

/// The order of K within a step is free as long as both operands have the same: thread t of a group
/// of four takes elements 8t .. 8t + 7 of each 32, so that every piece is 16 bytes.
template <int kColumns, RowsIn kIn, RowsFrom kFrom, typename Out>
__global__ void __launch_bounds__(kThreads, 2) few_rows_kernel(Arguments a) {
  using Ring = few_rows::Ring<kColumns, kIn>;
  constexpr int kTiles = (kColumns + 7) / 8;
  constexpr int kStages = Ring::kStages;
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ __align__(16) Sums<kColumns> sums;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int g = lane / 4;
  const int t = lane % 4;
  // Two units of rows are taken at once: two that follow each other, or, where the result is gated,
  // one of gates and that of the ups which go with them.
  const bool is_gated = a.gated != nullptr;
  const int n_sharable = is_gated ? a.n / 2 : a.n;
  const int lower_rows = is_gated ? n_sharable : kUnitRows;  // from upper to lower rows
  const int rows_at_once = is_gated ? kUnitRows : 2 * kUnitRows;
  const int block = static_cast<int>(blockIdx.x);
  const int first_row = first_unit(a, block) * kUnitRows;
  const int end_row = min(first_unit(a, block + 1) * kUnitRows, n_sharable);
  const int n_steps = steps_of(a.k);

  // A warp asks for whole lines, four rows at a time, whoever of its threads will need them.
  unsigned char* const ring = memory + warp * Ring::kWarpBytes;
  const int copied_row = lane / kLinePieces;
  const uint32_t copied =
      worked_out(shared_address(ring + line_at(copied_row, lane % kLinePieces)));
  const unsigned char* const read[2] = {ring + line_at(g, t), ring + line_at(g, t + 4)};

  // What is to be copied next: a step of K for two units of rows.
  const int first_column = copied_column(0);
  const int end_column = n_steps * kBlockStep;
  int load_row = first_row;
  int load_column = first_column;
  const Bf16* from[kPieces];
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const int row = first_row + copied_row + i % 2 * kRowsAtOnce + i / 2 * lower_rows;
    from[i] = a.w + int64_t{row} * a.k;
  }
  const auto load_weights = [&](int stage) {
    const uint32_t to = copied + stage;
    const uint32_t column = load_column;
    if (load_row + rows_at_once <= end_row && load_column < a.k) {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        copy_async(to + i * kRowsAtOnce * kLineBytes, from[i] + column, true);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        const int row = load_row + copied_row + (is_gated ? i % 2 : i) * kRowsAtOnce;
        const bool is_there = row < end_row && load_column < a.k;
        copy_async(to + i * kRowsAtOnce * kLineBytes, is_there ? from[i] + column : a.w, is_there);
      }
    }
  };
  // Of the rows likewise; nothing is copied where there is none.
  int x_column = first_column;
  const Bf16* const x_from = worked_out(a.x + copied_row * a.x_stride);
  const int64_t x_apart = worked_out(kRowsAtOnce * a.x_stride);
  const int n_copied = worked_out(a.m - copied_row);
  const auto load_rows = [&](int stage) {
    const uint32_t to = copied + stage + kRows * kLineBytes;
    const bool is_there = x_column < a.k;
    const Bf16* x = x_from + static_cast<uint32_t>(is_there ? x_column : 0);
#pragma unroll
    for (int first = 0; first < kColumns; first += kRowsAtOnce) {
      if (first < n_copied) copy_async(to + first * kLineBytes, x, is_there);
      x += x_apart;
    }
    x_column += kBlockStep;
    if (x_column >= end_column) x_column = first_column;
  };
  const auto go_on = [&] {
    load_column += kBlockStep;
    if (load_column >= end_column) {
      load_column = first_column;
      load_row += rows_at_once;
#pragma unroll
      for (int i = 0; i < kPieces; ++i) from[i] += int64_t{rows_at_once} * a.k;
    }
  };

  // Weights never change: the first are on their way before the kernel that makes x has finished.
  // Every step is committed, also past the end, so that the count of what is still out is right.
  let_next_kernel_begin();
#pragma unroll 1
  for (int i = 0; i < kStages - 1; ++i) {
    if (load_row < end_row) {
      load_weights(i * Ring::kStageBytes);
      go_on();
    }
    commit_copies();
  }
  Eight gains[kFrom == RowsFrom::norm ? kHeld : 1];
  if constexpr (kFrom == RowsFrom::norm) {
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      const int i = (static_cast<int>(threadIdx.x) + j * kThreads) * 8;
      if (i < a.k) gains[j] = load_eight(a.gain + i);
    }
  }
  wait_for_previous_kernel();
  const BlockRows rows = {memory + Ring::kBytes, a.m, half_bytes(a.m, a.k) + kHalfBytes};
  if constexpr (kIn == RowsIn::block) {
    make_rows<kFrom, kColumns <= kMostFusedRows>(a, gains, rows, &sums[0][0][0]);
  } else {
    // As many groups as there are of weights, so that the same count says that both have come.
    const int n_passes = (end_row - first_row + rows_at_once - 1) / rows_at_once;
#pragma unroll 1
    for (int i = 0; i < kStages - 1; ++i) {
      if (i < n_passes * n_steps) load_rows(i * Ring::kStageBytes);
      commit_copies();
    }
  }

  // This thread's part of what comes out: rows r and r + 8 of one token.
  const int own_row = static_cast<int>(threadIdx.x) % kUnitRows;
  const int own_token = static_cast<int>(threadIdx.x) / kUnitRows;
  const int x_row = kTiles == 1 ? min(g, a.m - 1) : g;
  const unsigned char* const first_x[2] = {
      kIn == RowsIn::block ? rows.at + (warp * a.m + x_row) * kHalfBytes + t * kPieceBytes
                           : ring + line_at(kRows + x_row, t),
      kIn == RowsIn::block ? nullptr : ring + line_at(kRows + x_row, t + 4)};
  const int own_sums[2] = {sums_of(2 * t, g), sums_of(2 * t + 1, g)};
  int stage = 0;
  int stage_before = (kStages - 1) * Ring::kStageBytes;
  int parity = 0;
  for (int row = first_row; row < end_row; row += rows_at_once) {
    const int n_rows = end_row - row;  // from here on
    const bool is_there[2] = {own_token < a.m && own_row < n_rows,
                              own_token < a.m && own_row + (is_gated ? 0 : kUnitRows) < n_rows};
    // Asked for early, so that it is there when the sums are.
    const int64_t own_residual = own_token * a.residual_stride + row + own_row;
    float before[2] = {};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (a.residual != nullptr && is_there[i]) {
        before[i] = to_float(a.residual[own_residual + i * kUnitRows]);
      }
    }
    float accumulated[kTiles][4] = {};
    const unsigned char* x = first_x[0];
    for (int step = 0; step < n_steps; ++step) {
      wait_for_copies<kStages - 2>();
      __syncwarp();  // each has waited for its own copies only, and has read the step before
      uint4 upper[2];
      uint4 lower[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        upper[half] = piece_at(read[half] + stage);
        lower[half] = piece_at(read[half] + stage + kUnitRows * kLineBytes);
      }
      const auto read_rows = [&](uint4(&to)[kTiles], int half) {
        const unsigned char* const from =
            kIn == RowsIn::block ? x + half * rows.to_second_half : first_x[half] + stage;
        constexpr int kRowBytes = kIn == RowsIn::block ? kHalfBytes : kLineBytes;
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) to[tile] = piece_at(from + tile * 8 * kRowBytes);
      };
      uint4 v[2][kTiles];
      read_rows(v[0], 0);
      if (load_row < end_row) {
        load_weights(stage_before);
        if constexpr (kIn != RowsIn::block) load_rows(stage_before);
        go_on();
      }
      commit_copies();
      read_rows(v[1], 1);
      x += kWarpsPerBlock * kHalfBytes * a.m;
      stage_before = stage;
      stage += Ring::kStageBytes;
      if (stage == Ring::kWarpBytes) stage = 0;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint4 u = upper[half];
        const uint4 l = lower[half];
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          mma_bf16(accumulated[tile], u.x, l.x, u.y, l.y, v[half][tile].x, v[half][tile].y);
        }
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          mma_bf16(accumulated[tile], u.z, l.z, u.w, l.w, v[half][tile].z, v[half][tile].w);
        }
      }
    }

    auto& own = sums[parity];
    parity ^= 1;  // the other half may still be read
    float* const to = own[warp];
    if (2 * t < kColumns) {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const float(&d)[4] = accumulated[tile];
        *reinterpret_cast<float2*>(to + own_sums[0] + tile * 8 * kRows) = {d[0], d[2]};
        *reinterpret_cast<float2*>(to + own_sums[1] + tile * 8 * kRows) = {d[1], d[3]};
      }
    }
    __syncthreads();
    if (!is_there[0]) continue;
    float sum[2] = {};
#pragma unroll
    for (int other = 0; other < kWarpsPerBlock; ++other) {
      const float2 of_warp =
          *reinterpret_cast<const float2*>(&own[other][sums_of(own_token, own_row)]);
      sum[0] += of_warp.x;
      sum[1] += of_warp.y;
    }
    const int column = row + own_row;
    Out* const out = static_cast<Out*>(a.out) + own_token * a.out_stride + column;
    const Out result[2] = {from_float<Out>(sum[0]), from_float<Out>(sum[1])};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (!is_there[i]) continue;
      out[i * lower_rows] = result[i];
      if (a.residual != nullptr) {
        a.residual[own_residual + i * kUnitRows] =
            from_float<Bf16>(before[i] + to_float(result[i]));
      }
    }
    if (is_gated) {
      a.gated[own_token * a.gated_stride + column] =
          from_float<Bf16>(silu(to_float(result[0])) * to_float(result[1]));
    }
  }
}

}  // namespace okapi::cuda::few_rows
