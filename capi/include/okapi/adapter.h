/* LoRA adapters: low-rank matrices beside a model's projections, W x + (alpha / r) B A x (Hu et al.
 * 2021, arXiv 2106.09685), in the folders that peft reads and writes.
 *
 *   okapi_adapter* adapter = NULL;
 *   okapi_adapter_open(model, "adapters/chat", &adapter, &error);
 *   okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
 *   options.adapter = adapter;   // beside the model's weights; other sessions do without
 *   okapi_session_create(model, &options, &session, &error);
 *   okapi_adapter_unref(adapter);
 *
 * A folder whose settings would make it compute something else (DoRA, biases, ranks by module,
 * weights that were changed when it began) is refused by the name of the setting.
 */
#ifndef OKAPI_ADAPTER_H
#define OKAPI_ADAPTER_H

#include <okapi/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct okapi_adapter okapi_adapter;

/// Reads a peft folder, adapter_config.json and adapter_model.safetensors, and puts its matrices on
/// the model's device. The model itself is not changed.
///
/// @param path          folder, UTF-8
/// @param[out] adapter  owned by the caller; immutable; holds the model
/// @return OKAPI_OK; OKAPI_NOT_FOUND on a missing file; OKAPI_INVALID_ARGUMENT or OKAPI_DATA_LOSS
///         on one that is wrong or does not fit the model, naming the tensor or the key;
///         OKAPI_UNIMPLEMENTED on settings that okapi does not compute, or if the backend has no
///         adapters; OKAPI_RESOURCE_EXHAUSTED
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_adapter_open(okapi_model* model, const char* path,
                                          okapi_adapter** adapter, okapi_error** error);

/// Takes another reference; returns its argument.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_adapter* okapi_adapter_ref(okapi_adapter* adapter);

/// Gives a reference back; NULL is allowed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_adapter_unref(okapi_adapter* adapter);

/// What it is, as a JSON object: path, rank, alpha, scale, dropout, targets, n_parameters, bytes on
/// the device, sha256 of everything that decides what it computes.
///
/// @return OKAPI_OK; OKAPI_OUT_OF_RANGE if the buffer is too small
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_adapter_describe(const okapi_adapter* adapter, char* buffer,
                                              size_t capacity, size_t* needed, okapi_error** error);

/// Writes it as a peft folder in f32, each file whole or not at all. base_model_name_or_path is the
/// path that its model was opened from.
///
/// @param folder  made if it is not there
/// @return OKAPI_OK; OKAPI_NOT_FOUND if the folder cannot be made; OKAPI_RESOURCE_EXHAUSTED
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_adapter_save(const okapi_adapter* adapter, const char* folder,
                                          okapi_error** error);

/// How a merge is done.
///
/// @since 0.1
typedef struct okapi_merge_options {
  uint32_t struct_size;
  int32_t dtype;  ///< OKAPI_DTYPE_* of the weights that change; default: as the base has them
  okapi_progress_callback progress;  ///< [callback] tensors; may be NULL
  void* progress_user_data;
  okapi_cancel* cancel;  ///< borrowed for the call; may be NULL
} okapi_merge_options;

#define OKAPI_MERGE_OPTIONS_INIT \
  { OKAPI_STRUCT_SIZE(okapi_merge_options, cancel), 0, NULL, NULL, NULL }

/// Makes one model of a base and an adapter: writes the base's folder with W + (alpha / r) B A in
/// the place of each W that the adapter has. Sums are formed in double.
///
/// @param base     Hugging Face folder, one file or sharded
/// @param adapter  peft folder
/// @param out      folder to write, made if it is not there; neither of the other two. Weights come
///                 in one file, seen whole or not at all; tokenizer and configuration are the
///                 base's, but for torch_dtype: that of the weights written, float32 if they differ
/// @param options  borrowed for the call; NULL for defaults
/// @return as okapi_model_open() and okapi_adapter_open(); OKAPI_INVALID_ARGUMENT if `out` is
///         one of the other two; OKAPI_OUT_OF_RANGE if a weight does not fit its dtype;
///         OKAPI_CANCELLED
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_adapter_merge(const char* base, const char* adapter, const char* out,
                                           const okapi_merge_options* options, okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
