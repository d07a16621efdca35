// The loops of the CPU backend that are compiled once per instruction set, as a table of functions.
// An operation (backends/cpu/x.cpp) checks, splits the work over threads and calls these on its
// parts; a kernel (kernels/x.cpp) is single-threaded and knows nothing of tensors.
#pragma once

#include <cstdint>

namespace okapi::cpu {

/// Most keys of one attention tile.
constexpr int kTileKeys = 64;

/// bf16 weights are kept in blocks of twice this many, see load_low() in simd.h; at least the
/// widest vector of floats. What is left at the end of a row is in order.
constexpr int kPairing = 16;

/// A run of a tile's keys that lies contiguously: `n_keys` rows of head_dim.
struct KeySegment {
  const float* keys;
  const float* values;
  int n_keys;
};

/// How a block of lanes (queries of one kv head) is laid out. In vectors, one lane per query: [D,
/// W] with W attention_lanes or half of it. Very few lanes lie in rows: [n_lanes, D].
enum class AttentionForm { vectors, half_vectors, rows };

/// Most lanes for which rows are faster.
constexpr int kRowLanes = 4;

/// One block of lanes against one tile of keys. Shapes are those of vectors.
struct AttentionTile {
  AttentionForm form;
  int n_lanes;            ///< that hold a query; for rows
  const float* queries;   ///< [D, W], scaled by score_scale * log2(e)
  float* output;          ///< [D, W], sum of p v, not yet divided
  float* maximum;         ///< [W] of the scores so far, in units of log2
  float* sum;             ///< [W] of p so far
  float* probabilities;   ///< [kTileKeys, W] scratch
  const int32_t* limits;  ///< [W] index within the tile of the last key each lane sees
  const KeySegment* segments;
  int n_segments;
  int n_keys;      ///< keys that at least one lane sees
  int n_unmasked;  ///< of these, the first ones that every lane sees
  int head_dim;
};

struct Kernels {
  const char* name;     ///< "avx512", "avx2", "baseline"
  int attention_lanes;  ///< W of a full block

  /// f32 from one row of n bf16 kept in paired order.
  void (*widen_bf16)(const uint16_t* from, float* to, int64_t n);

  /// out [m, n] = x [m, k] times w [n, k] transposed, for few rows m. A sum's order
  /// depends on k and on whether m is 1: among several rows, one does not depend on the others.
  void (*product_f32)(const float* x, int64_t ldx, int64_t m, const float* w, int64_t n, int64_t k,
                      float* out, int64_t ldo);
  void (*product_bf16)(const float* x, int64_t ldx, int64_t m, const uint16_t* w, int64_t n,
                       int64_t k, float* out, int64_t ldo);

  /// residual += delta (may be null); out = residual / sqrt(mean square + epsilon) * weight.
  void (*add_rms_norm)(float* residual, const float* delta, const float* weight, float epsilon,
                       float* out, int64_t n);

  /// Rotates n_heads heads of head_dim: pair i is (x[i], x[i + head_dim/2]). `to` may be `from`.
  void (*rotate)(const float* from, float* to, const float* cosines, const float* sines,
                 int64_t n_heads, int64_t from_stride, int64_t to_stride, int64_t head_dim);

  /// out = gate / (1 + exp(-gate)) * up.
  void (*swiglu)(const float* gate, const float* up, float* out, int64_t n);

  /// Folds n more logits into a running maximum and sum of exp(logit - maximum).
  void (*fold_log_sum_exp)(const float* logits, int64_t n, float* maximum, double* sum);

  int64_t (*argmax)(const float* x, int64_t n);

  void (*attention_tile)(const AttentionTile& tile);  ///< of any form

  /// Reads everything once; the return value only keeps the reads from being optimised away.
  float (*read)(const float* from, int64_t n);
};

/// The best table this processor runs, or the one called `variant` when that is not empty. Throws
/// BackendError when there is no such variant or the processor lacks its instructions.
const Kernels& select_kernels(const char* variant);

}  // namespace okapi::cpu
