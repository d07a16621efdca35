// Attention of one block of queries over one tile of keys, with online softmax.
//
// The lanes of a vector are queries: scores are held transposed, [keys, queries], and so are the
// queries and the output, [head_dim, queries]. Keys and values are then read as broadcast scalars
// straight from the cache page, nothing is repacked, any head_dim will do, and the softmax needs no
// reduction across lanes. A lane's arithmetic does not depend on its neighbours: a query's result
// depends on its keys alone, not on how the prompt was cut into calls.
#include "backends/cpu/kernels/declare.h"
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
  const auto advance = [&](int rows) {
    keys += rows * d;
    out += rows * kWidth;
    n -= rows;
  };
  for (; n >= kTileRows; advance(kTileRows)) score_rows<kTileRows, V>(keys, queries, d, out);
  for (; n >= 4; advance(4)) score_rows<4, V>(keys, queries, d, out);
  if (n >= 2) {
    score_rows<2, V>(keys, queries, d, out);
    advance(2);
  }
  if (n == 1) score_rows<1, V>(keys, queries, d, out);
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

template <int V>
void run(const AttentionTile& tile) {
  constexpr int kWidth = V * kLanes;
  float* const p = tile.probabilities;

  int64_t n_scored = 0;
  for (int s = 0; s < tile.n_segments; ++s) {
    const int64_t left = tile.n_keys - n_scored;
    const int64_t n = tile.segments[s].n_keys < left ? tile.segments[s].n_keys : left;
    scores<V>(tile.segments[s].keys, tile.queries, n, tile.head_dim, p + n_scored * kWidth);
    n_scored += n;
  }
  for (int j = tile.n_unmasked; j < tile.n_keys; ++j) {
    for (int v = 0; v < V; ++v) {
      float* const row = p + j * kWidth + v * kLanes;
      store(row, load(tile.limits + v * kLanes) >= j ? load(row) : broadcast(kMasked));
    }
  }

  Floats rescale[V];
  for (int v = 0; v < V; ++v) {
    const Floats before = load(tile.maximum + v * kLanes);
    Floats tops[2] = {before, before};
    int j = 0;
    for (; j + 2 <= tile.n_keys; j += 2) {
      tops[0] = max(load(p + j * kWidth + v * kLanes), tops[0]);
      tops[1] = max(load(p + (j + 1) * kWidth + v * kLanes), tops[1]);
    }
    if (j < tile.n_keys) tops[0] = max(load(p + j * kWidth + v * kLanes), tops[0]);
    const Floats top = max(tops[0], tops[1]);
    Floats total = {};
#pragma GCC unroll 4
    for (j = 0; j < tile.n_keys; ++j) {
      float* const row = p + j * kWidth + v * kLanes;
      const Floats weight = exp2(load(row) - top);
      store(row, weight);
      total += weight;
    }
    rescale[v] = exp2(before - top);
    store(tile.sum + v * kLanes, load(tile.sum + v * kLanes) * rescale[v] + total);
    store(tile.maximum + v * kLanes, top);
  }

  int64_t n_added = 0;
  for (int s = 0; s < tile.n_segments && n_added < tile.n_keys; ++s) {
    const int64_t left = tile.n_keys - n_added;
    const int64_t n = tile.segments[s].n_keys < left ? tile.segments[s].n_keys : left;
    add_values<V>(tile.segments[s].values, p + n_added * kWidth, n, tile.head_dim, rescale,
                  tile.output);
    for (int v = 0; v < V; ++v) rescale[v] = broadcast(1.0F);
    n_added += n;
  }
}

}  // namespace

void attention_tile(const AttentionTile& tile) {
  switch (tile.form) {
    case AttentionForm::vectors:
      run<2>(tile);
      break;
    case AttentionForm::half_vectors:
      run<1>(tile);
      break;
    case AttentionForm::rows:
      attention_rows(tile);
      break;
  }
}

}  // namespace okapi::cpu::OKAPI_CPU_ISA
