// How a product of few rows lies in shared memory: the ring that the weights come through, the rows
// that they meet, the sums of the warps.
#pragma once

#include <cstdint>

#include "backends/cuda/device.cuh"
#include "backends/cuda/few_rows.h"

namespace okapi::cuda::few_rows {

constexpr int kRows = 16;     // of a matrix instruction
constexpr int kUnitRows = 8;  // blocks share the rows out in units of so many
constexpr int kWarpsPerBlock = 8;
constexpr int kThreads = kWarpsPerBlock * kWarp;
constexpr int kStep = 64;  // of K per warp and step: two pieces of eight per thread and row
constexpr int kBlockStep = kStep * kWarpsPerBlock;
constexpr int kPieces = 4;
constexpr int kPieceBytes = 16;
constexpr int kLinePieces = kStep / 8;  // 128 bytes
constexpr int kRowsAtOnce = kWarp / kLinePieces;
constexpr int kLineBytes = kLinePieces * kPieceBytes;
/// Of the rows that a block has from the start the first halves of lines lie one after the other,
/// the second halves likewise, and an odd number of halves further on. Two rows that are read at
/// once, and both halves of a line that are written at once, then lie in different banks.
constexpr int kHalfBytes = kLineBytes / 2;
constexpr size_t kMostTokenBytes = size_t{36} << 10;  // of fused rows

/// Where a block has the rows that it multiplies the weight with.
enum class RowsIn : int32_t {
  block,      ///< all of them beside the ring, from the start
  ring,       ///< each step's beside its weights
  short_ring  ///< likewise, where a device has little shared memory
};

/// As many as fit where two blocks share a multiprocessor, or, with 16 rows and more in the ring,
/// where one has it.
constexpr int stages_of(int columns, RowsIn in) {
  if (in == RowsIn::short_ring) return 2;
  if (in == RowsIn::ring && columns == 16) return 6;
  return in == RowsIn::block && columns <= 4 ? 5 : 4;
}

/// What warps copy the weights into, and the rows where these do not lie beside it.
template <int kColumns, RowsIn kIn>
struct Ring {
  static constexpr int kStages = stages_of(kColumns, kIn);
  static constexpr int kStageBytes =  // of one warp
      (kRows + (kIn == RowsIn::block ? 0 : kColumns)) * kLineBytes;
  static constexpr int kWarpBytes = kStages * kStageBytes;
  static constexpr size_t kBytes = size_t{kWarpsPerBlock} * kWarpBytes;
};

/// Of each warp: a column of the matrix instruction has 16 floats, rows r and r + 8 side by side.
/// See sums_of.
template <int kColumns>
using Sums = float[2][kWarpsPerBlock][kColumns * kRows];

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
  int32_t n_units;          ///< of every block
  int32_t n_larger_blocks;  ///< the first so many have one more
  float epsilon;
};

__host__ __device__ inline int steps_of(int k) { return (k + kBlockStep - 1) / kBlockStep; }
/// Of m rows of a block, which have zeros up to the end of the last step.
__host__ __device__ inline int half_bytes(int m, int k) {
  return steps_of(k) * kWarpsPerBlock * m * kHalfBytes;
}
inline size_t token_bytes(int64_t m, int64_t k) {
  return size_t{2} * static_cast<size_t>(half_bytes(static_cast<int>(m), static_cast<int>(k))) +
         kHalfBytes;
}
/// Where columns of the matrix instruction that no row belongs to are read like the others, to
/// leave their sums alone, there is room for them behind the last row.
template <int kColumns>
size_t block_rows_bytes(int64_t m, int64_t k) {
  return token_bytes(m, k) + (kColumns > 8 ? static_cast<size_t>(kColumns - m) * kHalfBytes : 0);
}

__device__ inline int first_unit(const Arguments& a, int block) {
  return block * a.n_units + min(block, a.n_larger_blocks);
}

/// The rows beside the ring: what a warp reads in a step lies together, row by row.
struct BlockRows {
  unsigned char* at;
  int m;
  int to_second_half;

  /// Eight columns.
  __device__ uint4* piece(int token, int column) const {
    return reinterpret_cast<uint4*>(at + (column / kStep * m + token) * kHalfBytes +
                                    column % kStep / (kStep / 2) * to_second_half +
                                    column % (kStep / 2) / 8 * kPieceBytes);
  }
};

/// The first column of the piece of a line that this thread copies, in a step of its warp.
__device__ inline int copied_column(int step) {
  return step * kBlockStep + static_cast<int>(threadIdx.x) / kWarp * kStep +
         static_cast<int>(threadIdx.x) % kLinePieces * 8;
}

/// Keeps the compiler from working a value out anew in every step.
template <typename T>
__device__ inline T worked_out(T x) {
  if constexpr (sizeof(T) == sizeof(uint64_t)) {
    asm volatile("" : "+l"(x));
  } else {
    asm volatile("" : "+r"(x));
  }
  return x;
}

__device__ inline uint4 piece_at(const unsigned char* shared) {
  return *reinterpret_cast<const uint4*>(shared);
}

/// Where a piece of a row's line lies in the ring. Every second line lies with its halves
/// exchanged, so that two rows that are read at once lie in different banks; a line stays whole,
/// for the copies come slower otherwise.
__device__ inline int line_at(int row, int piece) {
  return row * kLineBytes + (piece ^ row % 2 * (kLinePieces / 2)) * kPieceBytes;
}

/// Where rows r and r + 8 of a column stand among a warp's sums: the four columns and eight rows
/// that a warp writes at once are in different banks, and so are two columns in sequence.
__device__ inline int sums_of(int column, int row) {
  return (column ^ column / 2 % 2) * kRows + (2 * row ^ column / 4 % 2 * 8);
}

}  // namespace okapi::cuda::few_rows
