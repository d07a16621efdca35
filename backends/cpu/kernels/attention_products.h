// The small products attention is made of, forward and backward. Lanes are queries, in blocks of
// W = V vectors; included by kernel sources only.
#pragma once

#include "backends/cpu/kernels/simd.h"

namespace okapi::cpu::OKAPI_CPU_ISA {
namespace {

// Rows of a register tile, each two vectors wide: as many as leave room for the operands.
constexpr int kTileRows = kVectorBytes == 64 ? 12 : 6;

/// scores [R, W] = keys [R, D] times queries [D, W].
template <int R, int V>
inline void score_rows(const float* keys, const float* queries, int64_t d, float* scores) {
  constexpr int kWidth = V * kLanes;
  Floats acc[R][V] = {};
  for (int64_t i = 0; i < d; ++i) {
    Floats q[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) q[v] = load(queries + i * kWidth + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Floats key = broadcast(keys[r * d + i]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[r][v] += key * q[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(scores + r * kWidth + v * kLanes, acc[r][v]);
  }
}

/// output [R, W] = output * rescale [W] + values [n, R of D] transposed times p [n, W].
template <int R, int V>
inline void value_rows(const float* values, const float* p, int64_t n, int64_t d,
                       const Floats* rescale, float* output) {
  constexpr int kWidth = V * kLanes;
  Floats acc[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[r][v] = load(output + r * kWidth + v * kLanes) * rescale[v];
  }
  for (int64_t j = 0; j < n; ++j) {
    Floats weight[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) weight[v] = load(p + j * kWidth + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Floats value = broadcast(values[j * d + r]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[r][v] += value * weight[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(output + r * kWidth + v * kLanes, acc[r][v]);
  }
}

// A rest of less than kTileRows rows is cut into powers of two rather than into one function per
// count.
template <int V>
inline void scores(const float* keys, const float* queries, int64_t n, int64_t d, float* out) {
  constexpr int kWidth = V * kLanes;
  int64_t i = 0;
  for (; i + kTileRows <= n; i += kTileRows) {
    score_rows<kTileRows, V>(keys + i * d, queries, d, out + i * kWidth);
  }
  for (; i + 4 <= n; i += 4) score_rows<4, V>(keys + i * d, queries, d, out + i * kWidth);
  for (; i + 2 <= n; i += 2) score_rows<2, V>(keys + i * d, queries, d, out + i * kWidth);
  if (i < n) score_rows<1, V>(keys + i * d, queries, d, out + i * kWidth);
}

template <int V>
inline void add_values(const float* values, const float* p, int64_t n, int64_t d,
                       const Floats* rescale, float* output) {
  constexpr int kWidth = V * kLanes;
  int64_t i = 0;
  for (; i + kTileRows <= d; i += kTileRows) {
    value_rows<kTileRows, V>(values + i, p, n, d, rescale, output + i * kWidth);
  }
  for (; i + 4 <= d; i += 4) value_rows<4, V>(values + i, p, n, d, rescale, output + i * kWidth);
  for (; i < d; ++i) value_rows<1, V>(values + i, p, n, d, rescale, output + i * kWidth);
}

}  // namespace
}  // namespace okapi::cpu::OKAPI_CPU_ISA
