/* A position-encoding scheme: an ordered list of plugins with their parameters.
 *
 *   okapi_rope* rope = NULL;
 *   okapi_rope_create(model, "linear:scale=4 | truncated:length=2048", &rope, &error);
 *   session_options.rope = rope;
 *
 * A spec is scheme, or scheme:key=value,key=value; schemes are separated by "|", lists within a
 * value by ";". Parameters that are not given come from the model or from the plugin's defaults.
 */
#ifndef OKAPI_ROPE_H
#define OKAPI_ROPE_H

#include <okapi/model.h>
#include <okapi/plugin/rope.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Immutable; one may serve any number of sessions.
typedef struct okapi_rope okapi_rope;

/// Reads a spec against the geometry of a model.
///
/// @param spec       UTF-8; NULL or "": what the model's own configuration says
/// @param[out] rope  owned by the caller
/// @return OKAPI_OK; OKAPI_NOT_FOUND on a scheme no plugin offers, listing those there are;
///         OKAPI_INVALID_ARGUMENT on a key or value the plugin refuses, naming it
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_rope_create(const okapi_model* model, const char* spec,
                                         okapi_rope** rope, okapi_error** error);

/// The geometry a rope is read against when there is no model.
///
/// @since 0.1
typedef struct okapi_rope_shape {
  uint32_t struct_size;
  int32_t n_layers;        ///< 0: 1
  int64_t head_dim;        ///< even
  int64_t trained_length;  ///< tokens
  double base;             ///< 0: 10000
} okapi_rope_shape;

#define OKAPI_ROPE_SHAPE_INIT \
  { OKAPI_STRUCT_SIZE(okapi_rope_shape, base), 0, 0, 0, 0 }

/// Reads a spec against a geometry given in numbers. Otherwise as okapi_rope_create().
///
/// @param spec  must name a scheme: there is no model that could have one of its own
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_rope_create_for_shape(okapi_runtime* runtime,
                                                   const okapi_rope_shape* shape, const char* spec,
                                                   okapi_rope** rope, okapi_error** error);

/// Takes another reference; returns its argument.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_rope* okapi_rope_ref(okapi_rope* rope);

/// Gives a reference back; NULL is allowed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_rope_unref(okapi_rope* rope);

/// The spec with every parameter that is in force, in a form that reads back as the same rope.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_rope_canonical(const okapi_rope* rope, char* buffer, size_t capacity,
                                            size_t* needed, okapi_error** error);

/// The list of schemes as a JSON object: spec, and of each scheme the plugin, its version, and
/// every parameter with its value and where that came from.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_rope_describe(const okapi_rope* rope, char* buffer, size_t capacity,
                                           size_t* needed, okapi_error** error);

/// Frequencies of layer `layer` at a declared length.
///
/// @param declared_length            tokens; 0: the trained length
/// @param[out] inv_freq              f64 [capacity], radians per position of each pair; 0: does not
///                                   rotate
/// @param[out] n_pairs               head_dim / 2; may be NULL
/// @param[out] rotation_gain         multiplies cos and sin; may be NULL
/// @param[out] attention_temperature divides q.k / sqrt(head_dim); may be NULL
/// @return OKAPI_OK; OKAPI_OUT_OF_RANGE if capacity is less than n_pairs or there is no such layer;
///         what the plugin says if it fails, with its name
/// @note [thread-safe] Schemes registered in process are called on the calling thread only.
/// @since 0.1
OKAPI_API okapi_status okapi_rope_table(const okapi_rope* rope, int64_t declared_length,
                                        int32_t layer, double* inv_freq, size_t capacity,
                                        size_t* n_pairs, double* rotation_gain,
                                        double* attention_temperature, okapi_error** error);

/// What the scheme does, as a JSON object: spec, parameters and where each came from, per pair the
/// frequency, wavelength, turns within trained and declared length and what happened to it, the
/// decay of q.k with distance, the table's SHA-256.
///
/// @param declared_length  tokens; 0: the trained length
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_rope_explain(const okapi_rope* rope, int64_t declared_length,
                                          char* buffer, size_t capacity, size_t* needed,
                                          okapi_error** error);

/// Offers a scheme of the embedder under `name`, beside those of plugins, in this runtime only.
///
/// @param name        letters, digits, '_' and '-'
/// @param parameters_json  declared parameters, as a plugin declares them
///                    (<okapi/plugin/plugin.h>); NULL or "": none
/// @param scheme      copied; its functions are called only on threads that call okapi
/// @param user_data   given to the scheme's create function as its state
/// @param destroy     [callback] of user_data, when the runtime has gone and the last rope with it;
///                    may be NULL
/// @return OKAPI_OK; OKAPI_ALREADY_EXISTS if the name is taken; OKAPI_INVALID_ARGUMENT
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_runtime_register_rope(okapi_runtime* runtime, const char* name,
                                                   const char* parameters_json,
                                                   const okapi_rope_scheme_v1* scheme,
                                                   void* user_data,
                                                   void (*destroy)(void* user_data),
                                                   okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
