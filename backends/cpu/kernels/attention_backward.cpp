// The backward of attention, for one tile of queries and keys (Dao 2023, arXiv:2307.08691): scores
// and weights are computed again from the queries, the keys and the logarithms of the softmax's
// sums.
//
//   P = exp(S - L)            dV += P^T dO
//   dP = dO V^T               dS = scale P (dP - delta)
//   dQ += dS K                dK += dS^T Q
//
// S, P, dP and dS are held transposed, [keys, lanes], as in the forward: their rows are broadcasts
// of keys and values against vectors of queries, and dQ is that too. For dK and dV the vectors run
// along head_dim instead, and the broadcasts are weights, which lie in the cache line of their key.
#include "backends/cpu/kernels/attention_products.h"
#include "backends/cpu/kernels/declare.h"

namespace okapi::cpu::OKAPI_CPU_ISA {
namespace {

constexpr int kVectors = 2;
constexpr int kWidth = kVectors * kLanes;
constexpr int64_t kBlockWeights = int64_t{kTileKeys} * kWidth;

/// out [R keys, N vectors] += weights transposed times rows [lanes, D], over n_blocks blocks.
template <int R, int N>
inline void key_rows(const float* weights, const float* rows, int n_blocks, int64_t d, float* out) {
  Floats acc[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) acc[r][v] = load(out + r * d + v * kLanes);
  }
  for (int b = 0; b < n_blocks; ++b, weights += kBlockWeights) {
    for (int lane = 0; lane < kWidth; ++lane, rows += d) {
      Floats row[N];
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) row[v] = load(rows + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const Floats weight = broadcast(weights[r * kWidth + lane]);
#pragma GCC unroll 4
        for (int v = 0; v < N; ++v) acc[r][v] += weight * row[v];
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) store(out + r * d + v * kLanes, acc[r][v]);
  }
}

/// The last columns of a head_dim that vectors do not divide.
inline void key_rows_rest(const float* weights, const float* rows, int n_blocks, int n_keys,
                          int64_t d, int64_t column, float* out) {
  for (int j = 0; j < n_keys; ++j) {
    for (int64_t i = column; i < d; ++i) {
      float total = out[j * d + i];
      for (int b = 0; b < n_blocks; ++b) {
        const float* const weight = weights + b * kBlockWeights + j * kWidth;
        for (int lane = 0; lane < kWidth; ++lane) {
          total += weight[lane] * rows[(b * kWidth + lane) * d + i];
        }
      }
      out[j * d + i] = total;
    }
  }
}

/// First of the tile's blocks that has a lane which sees key j.
inline int first_block_seeing(const AttentionBackwardTile& tile, int64_t key) {
  const int64_t first_lane = key - tile.diagonal;
  return first_lane <= 0 ? 0 : static_cast<int>(first_lane / kWidth);
}

template <int N>
inline void key_columns(const AttentionBackwardTile& tile, const float* weights, const float* rows,
                        int64_t column, float* out) {
  const int64_t d = tile.head_dim;
  const auto skip = [&](int key) { return first_block_seeing(tile, key); };
  int j = 0;
  const auto at = [&](int skipped) { return weights + skipped * kBlockWeights + j * kWidth; };
  const auto from = [&](int skipped) { return rows + skipped * kWidth * d + column; };
  for (; j + kTileRows <= tile.n_keys; j += kTileRows) {
    const int b = skip(j);
    key_rows<kTileRows, N>(at(b), from(b), tile.n_blocks - b, d, out + j * d + column);
  }
  for (; j + 4 <= tile.n_keys; j += 4) {
    const int b = skip(j);
    key_rows<4, N>(at(b), from(b), tile.n_blocks - b, d, out + j * d + column);
  }
  for (; j < tile.n_keys; ++j) {
    const int b = skip(j);
    key_rows<1, N>(at(b), from(b), tile.n_blocks - b, d, out + j * d + column);
  }
}

/// out [n_keys, D] += weights transposed times rows.
inline void add_to_keys(const AttentionBackwardTile& tile, const float* weights, const float* rows,
                        float* out) {
  const int64_t d = tile.head_dim;
  int64_t column = 0;
  for (; column + 2 * kLanes <= d; column += 2 * kLanes) {
    key_columns<2>(tile, weights, rows, column, out);
  }
  for (; column + kLanes <= d; column += kLanes) key_columns<1>(tile, weights, rows, column, out);
  if (column < d) key_rows_rest(weights, rows, tile.n_blocks, tile.n_keys, d, column, out);
}

inline int clamped(int64_t n, int most) {
  return n < 0 ? 0 : n > most ? most : static_cast<int>(n);
}

inline Ints lane_numbers() {
  Ints numbers = {};
  for (int lane = 0; lane < kLanes; ++lane) numbers[lane] = lane;
  return numbers;
}

/// Weights and gradients of scores of one block, from scores and gradients of weights, in place.
inline void soften(const AttentionBackwardTile& tile, int64_t first_lane, int n_keys,
                   int n_unmasked, float* p, float* ds) {
  const Floats scale = broadcast(tile.score_scale);
  for (int v = 0; v < kVectors; ++v) {
    const int64_t lane = first_lane + v * kLanes;
    const Floats log_sum = load(tile.log_sums + lane);
    const Floats delta = load(tile.deltas + lane);
    const Ints last_seen =
        lane_numbers() +
        static_cast<int32_t>(lane + tile.diagonal < kTileKeys ? lane + tile.diagonal : kTileKeys);
    for (int j = 0; j < n_keys; ++j) {
      float* const weights = p + j * kWidth + v * kLanes;
      float* const gradients = ds + j * kWidth + v * kLanes;
      Floats weight = exp2(load(weights) - log_sum);
      if (j >= n_unmasked) weight = last_seen >= j ? weight : Floats{};
      store(weights, weight);
      store(gradients, weight * (load(gradients) - delta) * scale);
    }
  }
}

}  // namespace

void attention_backward_tile(const AttentionBackwardTile& tile) {
  const int64_t d = tile.head_dim;
  Floats as_it_is[kVectors];
  for (Floats& factor : as_it_is) factor = broadcast(1.0F);

  for (int b = 0; b < tile.n_blocks; ++b) {
    const int64_t first_lane = int64_t{b} * kWidth;
    const int n_keys = clamped(tile.diagonal + first_lane + kWidth, tile.n_keys);
    const int n_unmasked = clamped(tile.diagonal + first_lane + 1, n_keys);
    float* const p = tile.probabilities + b * kBlockWeights;
    float* const ds = tile.score_gradients + b * kBlockWeights;
    scores<kVectors>(tile.keys, tile.packed_queries + first_lane * d, n_keys, d, p);
    scores<kVectors>(tile.values, tile.packed_out_gradient + first_lane * d, n_keys, d, ds);
    soften(tile, first_lane, n_keys, n_unmasked, p, ds);
    // Rows of keys are taken several at a time, of which this block may see the first only.
    for (int64_t i = int64_t{n_keys} * kWidth; i < int64_t{tile.n_keys} * kWidth; ++i) {
      p[i] = 0.0F;
      ds[i] = 0.0F;
    }
    add_values<kVectors>(tile.keys, ds, n_keys, d, as_it_is,
                         tile.packed_query_gradient + first_lane * d);
  }
  add_to_keys(tile, tile.probabilities, tile.out_gradient, tile.value_gradient);
  add_to_keys(tile, tile.score_gradients, tile.queries, tile.key_gradient);
}

}  // namespace okapi::cpu::OKAPI_CPU_ISA
