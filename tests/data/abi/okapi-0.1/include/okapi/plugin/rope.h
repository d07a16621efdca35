/* okapi.rope/1: a position-encoding scheme as data.
 *
 *   static int32_t table(void* instance, const okapi_rope_geometry* geometry,
 *                        okapi_rope_table_v1* out, const okapi_error_sink* sink) {
 *     for (int32_t i = 0; i < out->n_pairs; ++i) out->inv_freq[i] = geometry->inv_freq[i] / 4;
 *     out->n_written = out->n_pairs;
 *     return OKAPI_OK;
 *   }
 *
 * A scheme fills tables in double precision. The host owns rounding, kernels and gradients, so that
 * it runs at full speed on every backend, forward and backward. Schemes form a list: each is given
 * the table of the one before, and the list starts from the plain one, base^(-2i/rotary_dim).
 */
#ifndef OKAPI_PLUGIN_ROPE_H
#define OKAPI_PLUGIN_ROPE_H

#include <okapi/plugin/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OKAPI_ROPE_EXTENSION "okapi.rope/1"

#define OKAPI_PHASE_EVALUATE 0
#define OKAPI_PHASE_TRAIN 1

/// What a table is asked for. Filled by the host, borrowed for the call.
///
/// @since 0.1
typedef struct okapi_rope_geometry {
  uint32_t struct_size;
  int32_t phase;       ///< OKAPI_PHASE_EVALUATE or OKAPI_PHASE_TRAIN
  int32_t head_dim;    ///< channels per head
  int32_t rotary_dim;  ///< rotated channels, even, at most head_dim; pairs are rotary_dim / 2
  int32_t layer;       ///< 0 .. n_layers - 1
  int32_t n_layers;
  double base;             ///< the model's, for instance 10000
  int64_t trained_length;  ///< tokens of context in training
  int64_t target_length;   ///< tokens wanted now: the session's declared length
  uint64_t seed;
  const double* inv_freq;        ///< [rotary_dim / 2] radians per position: the table so far
  double rotation_gain;          ///< the product so far
  double attention_temperature;  ///< the product so far
} okapi_rope_geometry;

/// What a scheme answers. The host sets all but n_written before the call.
///
/// @since 0.1
typedef struct okapi_rope_table_v1 {
  uint32_t struct_size;
  int32_t n_pairs;       ///< rotary_dim / 2, the length of inv_freq
  double* inv_freq;      ///< [n_pairs] to fill: radians per position, finite, at least 0; 0: the
                         ///< pair does not rotate. Holds the table so far when called.
  double rotation_gain;  ///< multiplies cos and sin; this scheme's own, 1 when called
  double attention_temperature;  ///< divides q.k / sqrt(head_dim); this scheme's own, 1 when called
  int64_t n_written;             ///< to set: how many frequencies were filled; must become n_pairs
} okapi_rope_table_v1;

/* Flags of a scheme.
 *
 * STARTS_FROM_BASE      computes from the base, not from the table so far: refused later in a list
 * DEPENDS_ON_LENGTH     the table is a function of target_length
 * PLAIN_AT_SCALE_1      with parameter `scale` = 1 (without one: as it is) it is plain RoPE, which
 *                       the host checks
 * THREAD_SAFE           calls on one instance may overlap
 * POSITIONS_IN_...      in which phases `positions` is to be asked */
#define OKAPI_ROPE_STARTS_FROM_BASE 1u
#define OKAPI_ROPE_DEPENDS_ON_LENGTH 2u
#define OKAPI_ROPE_PLAIN_AT_SCALE_1 4u
#define OKAPI_ROPE_THREAD_SAFE 8u
#define OKAPI_ROPE_POSITIONS_IN_TRAINING 16u
#define OKAPI_ROPE_POSITIONS_IN_EVALUATION 32u

/// The functions of a scheme. `instance` is what create made, one per set of parameters.
///
/// Results are functions of (parameters, geometry, arguments) alone: asked twice, the same bytes.
///
/// @since 0.1
typedef struct okapi_rope_scheme_v1 {
  uint32_t struct_size;
  uint32_t flags;  ///< OKAPI_ROPE_*

  /// Checks the parameters and makes an instance. May be NULL: instance is then `state`.
  ///
  /// @param state        of the plugin's init, or the user_data of a scheme registered in process
  /// @param params       checked against the declaration; borrowed for the call
  /// @param[out] instance given to the other functions; freed by destroy
  /// @param[in,out] flags holds `flags` above; an instance may add or drop some
  int32_t (*create)(void* state, const okapi_params* params, void** instance, uint32_t* flags,
                    const okapi_error_sink* sink);

  /// May be NULL.
  void (*destroy)(void* instance);

  /// Fills the table for one layer. May be NULL: the table stays as it is so far.
  int32_t (*table)(void* instance, const okapi_rope_geometry* geometry, okapi_rope_table_v1* table,
                   const okapi_error_sink* sink);

  /// Real positions in place of 0 .. n-1, in ascending order. May be NULL. Asked in the phases that
  /// the POSITIONS flags name; at most one scheme of a list may answer.
  ///
  /// @param draw            a fresh stream for this call; the same one when a draw is repeated
  /// @param[out] positions  f64 [n] to fill, finite, at least 0
  int32_t (*positions)(void* instance, const okapi_rope_geometry* geometry, int64_t n,
                       okapi_random* draw, double* positions, const okapi_error_sink* sink);

  /// Natural logarithms of factors on query and key, per position and pair. May be NULL.
  ///
  /// Logarithms, because the factors themselves (xPos's zeta^(p/B)) leave the range of float32 at
  /// long contexts while their quotient in a score does not: the host first subtracts a reference.
  ///
  /// @param positions   f64 [n]
  /// @param[out] log_q  f64 [n, rotary_dim / 2] to fill, finite
  /// @param[out] log_k  f64 [n, rotary_dim / 2] to fill, finite
  int32_t (*log_magnitude)(void* instance, const okapi_rope_geometry* geometry,
                           const double* positions, int64_t n, double* log_q, double* log_k,
                           const okapi_error_sink* sink);
} okapi_rope_scheme_v1;

#ifdef __cplusplus
}
#endif

#endif
