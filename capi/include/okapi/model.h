/* Immutable weights on one device, their configuration and their tokenizer. A model is loaded once
 * and serves any number of sessions, each under a position scheme of its own.
 *
 *   okapi_model* model = NULL;
 *   okapi_model_open(runtime, "models/savanna-5m", NULL, &model, &error);
 *   okapi_model_info info = OKAPI_MODEL_INFO_INIT;
 *   okapi_model_get_info(model, &info, &error);
 *   okapi_model_unref(model);
 */
#ifndef OKAPI_MODEL_H
#define OKAPI_MODEL_H

#include <okapi/cancel.h>
#include <okapi/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct okapi_model okapi_model;

#define OKAPI_PAIR_LAYOUT_DEFAULT 0     /* half-split, as Hugging Face folders have it */
#define OKAPI_PAIR_LAYOUT_HALF_SPLIT 1  /* pair i is (x[i], x[i + head_dim/2]) */
#define OKAPI_PAIR_LAYOUT_INTERLEAVED 2 /* pair i is (x[2i], x[2i + 1]) */

/// How a model is loaded.
///
/// @since 0.1
typedef struct okapi_model_options {
  uint32_t struct_size;
  /// How weights are kept in memory: F32 or BF16; default: BF16 if every matrix of the files is.
  int32_t dtype;
  int32_t pair_layout;        ///< forces how rotary pairs lie in the weights
  uint8_t without_tokenizer;  ///< 1: leave the folder's tokenizer alone
  uint8_t reserved[3];
  const char* config_file;  ///< name of the configuration in the folder; NULL: "config.json"
  okapi_progress_callback progress;  ///< bytes read; may be NULL
  void* progress_user_data;
  okapi_cancel* cancel;  ///< may be NULL; borrowed for the call
  /// UTF-8: a tokenizer.model for a model that is made (okapi_model_create_random); NULL: none
  const char* tokenizer_file;
} okapi_model_options;

#define OKAPI_MODEL_OPTIONS_INIT                                                                  \
  {                                                                                               \
    OKAPI_STRUCT_SIZE(okapi_model_options, tokenizer_file), 0, 0, 0, {0, 0, 0}, NULL, NULL, NULL, \
        NULL, NULL                                                                                \
  }

/// Loads a Hugging Face folder: config.json, safetensors in one file or sharded, tokenizer.model.
///
/// Every size and offset in the files is checked before it is used.
///
/// @param path        folder, UTF-8
/// @param options     borrowed for the call; NULL for defaults
/// @param[out] model  owned by the caller; holds the runtime
/// @return OKAPI_OK; OKAPI_NOT_FOUND on a missing file; OKAPI_INVALID_ARGUMENT or OKAPI_DATA_LOSS
///         on a wrong one, naming file and field; OKAPI_UNIMPLEMENTED on an architecture that is
///         not Llama's; OKAPI_CANCELLED; OKAPI_RESOURCE_EXHAUSTED
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_model_open(okapi_runtime* runtime, const char* path,
                                        const okapi_model_options* options, okapi_model** model,
                                        okapi_error** error);

/// Makes a model of a given shape with random weights: for benchmarks, and to train from nothing.
///
/// @param config_json  text of a Hugging Face config.json
/// @param seed         the same seed gives the same weights on every machine: normal with deviation
///                     `initializer_range` (0.02 if absent), norms 1
/// @param options      borrowed for the call; NULL for defaults
/// @param[out] model   owned by the caller; has the tokenizer of `tokenizer_file`, if any
/// @return as okapi_model_open(); OKAPI_INVALID_ARGUMENT also if the tokenizer has more ids than
///         the model
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_model_create_random(okapi_runtime* runtime, const char* config_json,
                                                 uint64_t seed, const okapi_model_options* options,
                                                 okapi_model** model, okapi_error** error);

/// Takes another reference; returns its argument.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_model* okapi_model_ref(okapi_model* model);

/// Gives a reference back; NULL is allowed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_model_unref(okapi_model* model);

/// The numbers a caller needs to size its buffers.
///
/// @since 0.1
typedef struct okapi_model_info {
  uint32_t struct_size;
  int32_t dtype;  ///< of the weights in memory
  int64_t n_layers;
  int64_t d_model;
  int64_t d_ff;
  int64_t vocab_size;
  int64_t n_heads;
  int64_t n_kv_heads;
  int64_t head_dim;
  int64_t trained_length;  ///< tokens
  double base;             ///< of RoPE
  uint64_t n_parameters;
  uint64_t weight_bytes;        ///< in memory
  uint64_t kv_bytes_per_token;  ///< of a session's cache
  int32_t bos_id;               ///< -1: none
  int32_t eos_id;               ///< the first, if several; -1: none
  uint8_t has_tokenizer;
  uint8_t tied_embeddings;
} okapi_model_info;

#define OKAPI_MODEL_INFO_INIT                                                                    \
  {                                                                                              \
    OKAPI_STRUCT_SIZE(okapi_model_info, tied_embeddings), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
        0, 0, 0, 0                                                                               \
  }

/// Fills `info` up to its struct_size, which the caller set.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_model_get_info(const okapi_model* model, okapi_model_info* info,
                                            okapi_error** error);

/// Everything about the model as a JSON object: shape, dtype, path, SHA-256 of its files, its own
/// rope spec, tokenizer, keys of the configuration that were not used.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_model_describe(const okapi_model* model, char* buffer, size_t capacity,
                                            size_t* needed, okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
