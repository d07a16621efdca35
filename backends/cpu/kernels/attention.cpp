// Attention of one block of queries over one tile of keys, with online softmax.
//
// The lanes of a vector are queries: scores are held transposed, [keys, queries], and so are the
// queries and the output, [head_dim, queries]. Keys and values are then read as broadcast scalars
// straight from the cache page, nothing is repacked, any head_dim will do, and the softmax needs no
// reduction across lanes. A lane's arithmetic does not depend on its neighbours: a query's result
// depends on its keys alone, not on how the prompt was cut into calls.
#include "backends/cpu/kernels/attention_products.h"
#include "backends/cpu/kernels/declare.h"

namespace okapi::cpu::OKAPI_CPU_ISA {
namespace {

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
