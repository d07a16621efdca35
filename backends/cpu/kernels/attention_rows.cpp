// Attention of very few queries over one tile of keys: decoding with few heads per kv head.
//
// There a vector of queries would be mostly empty (attention.cpp), so vectors run along head_dim
// instead: a score is a dot product, an output is a sum of value rows.
#include "backends/cpu/kernels/declare.h"
#include "backends/cpu/kernels/simd.h"

namespace okapi::cpu::OKAPI_CPU_ISA {
namespace {

/// output [d] = output * rescale + p [n] times values [n, d], V vectors of it from element i on.
template <int V>
inline void add_values(const float* values, const float* p, int64_t n, int64_t d, float rescale,
                       float* output) {
  Floats acc[V];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) acc[v] = load(output + v * kLanes) * rescale;
  for (int64_t j = 0; j < n; ++j) {
    const Floats weight = broadcast(p[j]);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[v] += weight * load(values + j * d + v * kLanes);
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) store(output + v * kLanes, acc[v]);
}

inline void add_all_values(const float* values, const float* p, int64_t n, int64_t d, float rescale,
                           float* output) {
  constexpr int kVectors = 8;  // enough chains to hide the latency of multiply-add
  int64_t i = 0;
  for (; i + kVectors * kLanes <= d; i += kVectors * kLanes) {
    add_values<kVectors>(values + i, p, n, d, rescale, output + i);
  }
  for (; i + 2 * kLanes <= d; i += 2 * kLanes) {
    add_values<2>(values + i, p, n, d, rescale, output + i);
  }
  for (; i + kLanes <= d; i += kLanes) add_values<1>(values + i, p, n, d, rescale, output + i);
  for (; i < d; ++i) {
    float total = output[i] * rescale;
    for (int64_t j = 0; j < n; ++j) total += p[j] * values[j * d + i];
    output[i] = total;
  }
}

/// Scores to weights, in place; the sum and maximum of the lane brought up to date. Returns the
/// factor for what was summed before.
inline float soften(const AttentionTile& tile, int lane, float* p) {
  for (int j = tile.n_unmasked; j < tile.n_keys; ++j) {
    if (tile.limits[lane] < j) p[j] = kMasked;
  }
  int n = tile.n_keys;
  for (; n % kLanes != 0; ++n) p[n] = kMasked;
  Floats tops = broadcast(tile.maximum[lane]);
  for (int j = 0; j < n; j += kLanes) tops = max(load(p + j), tops);
  const float top = largest(tops);
  Floats total = {};
  for (int j = 0; j < n; j += kLanes) {
    const Floats weight = exp2(load(p + j) - top);
    store(p + j, weight);
    total += weight;
  }
  const float rescale = exp2(broadcast(tile.maximum[lane] - top))[0];
  tile.sum[lane] = tile.sum[lane] * rescale + sum(total);
  tile.maximum[lane] = top;
  return rescale;
}

}  // namespace

void attention_rows(const AttentionTile& tile) {
  const int64_t d = tile.head_dim;
  int n_scored = 0;
  for (int s = 0; s < tile.n_segments && n_scored < tile.n_keys; ++s) {
    const int left = tile.n_keys - n_scored;
    const int n = tile.segments[s].n_keys < left ? tile.segments[s].n_keys : left;
    product_f32(tile.queries, d, tile.n_lanes, tile.segments[s].keys, n, d,
                tile.probabilities + n_scored, kTileKeys);
    n_scored += n;
  }
  for (int lane = 0; lane < tile.n_lanes; ++lane) {
    float* const p = tile.probabilities + lane * kTileKeys;
    float rescale = soften(tile, lane, p);
    int n_added = 0;
    for (int s = 0; s < tile.n_segments && n_added < tile.n_keys; ++s) {
      const int left = tile.n_keys - n_added;
      const int n = tile.segments[s].n_keys < left ? tile.segments[s].n_keys : left;
      add_all_values(tile.segments[s].values, p + n_added, n, d, rescale, tile.output + lane * d);
      rescale = 1.0F;
      n_added += n;
    }
  }
}

}  // namespace okapi::cpu::OKAPI_CPU_ISA
