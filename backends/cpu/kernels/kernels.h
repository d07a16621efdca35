// The loops of the CPU backend that are compiled once per instruction set, as a table of functions.
// An operation (backends/cpu/x.cpp) checks, splits the work over threads and calls these on its
// parts; a kernel (kernels/x.cpp) is single-threaded and knows nothing of tensors.
#pragma once

#include <cstdint>

#include "backends/training_numbers.h"

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

/// Most queries of one tile of the backward pass; a multiple of every attention_lanes.
constexpr int kBackwardQueries = 64;

/// Queries of one head against one tile of keys, on the way back (Dao 2023, arXiv:2307.08691,
/// algorithm 2). The queries lie in blocks of W lanes; what fills up the last block is zero, but
/// for its log_sums, which are so large that its weights vanish.
struct AttentionBackwardTile {
  const float* packed_queries;       ///< [n_blocks, D, W], scaled by score_scale * log2(e)
  const float* packed_out_gradient;  ///< [n_blocks, D, W]
  const float* queries;              ///< [n_blocks W, D], as they are
  const float* out_gradient;         ///< [n_blocks W, D]
  const float* log_sums;             ///< [n_blocks W], in units of log2
  const float* deltas;               ///< [n_blocks W], out . out_gradient
  const float* keys;                 ///< [n_keys, D]
  const float* values;               ///< [n_keys, D]
  float* packed_query_gradient;      ///< [n_blocks, D, W], added to
  float* key_gradient;               ///< [n_keys, D], added to
  float* value_gradient;             ///< [n_keys, D], added to
  float* probabilities;              ///< [n_blocks, kTileKeys, W] scratch
  float* score_gradients;            ///< [n_blocks, kTileKeys, W] scratch
  float score_scale;
  int n_blocks;
  int n_keys;
  int head_dim;
  int64_t diagonal;  ///< lane l sees the keys up to l + diagonal of this tile
};

struct Kernels {
  const char* name;     ///< "avx512", "avx2", "baseline"
  int attention_lanes;  ///< W of a full block
  int panel_columns;    ///< weight rows of a panel

  /// f32 from one row of n bf16 kept in paired order.
  void (*widen_bf16)(const uint16_t* from, float* to, int64_t n);

  /// out [m, n] = x [m, k] times w [n, k] transposed, for few rows m. A sum's order
  /// depends on k and on whether m is 1: among several rows, one does not depend on the others.
  void (*product_f32)(const float* x, int64_t ldx, int64_t m, const float* w, int64_t n, int64_t k,
                      float* out, int64_t ldo);
  void (*product_bf16)(const float* x, int64_t ldx, int64_t m, const uint16_t* w, int64_t n,
                       int64_t k, float* out, int64_t ldo);

  /// panel [k, panel_columns] f32 from panel_columns rows of k bf16 kept in paired order.
  void (*widen_panel)(const uint16_t* w, int64_t k, float* panel);

  /// out [m, panel_columns] = x [m, k] times the panel, for any m. A sum's order depends on k
  /// alone.
  void (*product_panel)(const float* x, int64_t ldx, int64_t m, const float* panel, int64_t k,
                        float* out, int64_t ldo);

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

  /// Of out = x * weight, x = residual / rms: residual_gradient += what reaches the residual,
  /// weight_gradient += x * out_gradient unless null.
  void (*rms_norm_backward)(const float* residual, const float* weight, float epsilon,
                            const float* out_gradient, float* residual_gradient,
                            float* weight_gradient, int64_t n);

  /// The transpose of rotate, in place, on heads that lie one after another.
  void (*rotate_back)(float* x, const float* cosines, const float* sines, int64_t n_heads,
                      int64_t head_dim);

  /// The gradients may take the place of gate and up.
  void (*swiglu_backward)(const float* gate, const float* up, const float* out_gradient,
                          float* gate_gradient, float* up_gradient, int64_t n);

  /// logits = exp(logits - maximum) * scale.
  void (*softmax_gradient)(float* logits, int64_t n, float maximum, float scale);

  void (*attention_backward_tile)(const AttentionBackwardTile& tile);

  /// to += from.
  void (*add)(float* to, const float* from, int64_t n);

  /// Elements of a tensor from first_index on.
  void (*dropout)(const float* from, float* to, int64_t n, int64_t first_index,
                  const DropoutMask& mask);

  double (*squared_norm)(const float* x, int64_t n);

  void (*adamw)(float* parameter, const float* gradient, float* first_moment, float* second_moment,
                int64_t n, const AdamWFactors& factors);
};

/// The best table this processor runs, or the one called `variant` when that is not empty. Throws
/// BackendError when there is no such variant or the processor lacks its instructions.
const Kernels& select_kernels(const char* variant);

}  // namespace okapi::cpu
