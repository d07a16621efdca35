/* A tuned model as its difference from the base it came from, to be published without the base.
 *
 *   okapi_delta_make("base", "tuned", "delta", NULL, &error);
 *   okapi_delta_check("base", "delta", NULL, buffer, sizeof buffer, NULL, &error);
 *   okapi_delta_apply("base", "delta", "restored", NULL, &error);
 *
 * A delta is a folder: delta.safetensors with a tensor for each of the model's, the SHA-256 of base
 * and tuned model in its metadata; and the tuned model's configuration and tokenizer. It applies to
 * the very base that it was made from and to no other.
 */
#ifndef OKAPI_DELTA_H
#define OKAPI_DELTA_H

#include <okapi/cancel.h>
#include <okapi/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/// How a delta is made, checked or applied.
///
/// @since 0.1
typedef struct okapi_delta_options {
  uint32_t struct_size;
  /// OKAPI_DTYPE_*: made, of the differences, default F16; applied, of the restored weights,
  /// default as the base has them; checked, must be 0.
  int32_t dtype;
  okapi_progress_callback progress;  ///< [callback] tensors, checked: bytes; may be NULL
  void* progress_user_data;
  okapi_cancel* cancel;  ///< borrowed for the call; may be NULL
} okapi_delta_options;

#define OKAPI_DELTA_OPTIONS_INIT \
  { OKAPI_STRUCT_SIZE(okapi_delta_options, cancel), 0, NULL, NULL, NULL }

/// Writes tuned - base, tensor by tensor, rounded to the dtype.
///
/// @param base     Hugging Face folder
/// @param tuned    another of the same tensors
/// @param delta    folder to write, made if it is not there; neither of the other two
/// @param options  borrowed for the call; NULL for defaults
/// @return OKAPI_OK; OKAPI_INVALID_ARGUMENT if a tensor has another shape in the other model, or
///         `delta` is one of the two; OKAPI_OUT_OF_RANGE if a difference does not fit the dtype;
///         OKAPI_CANCELLED; otherwise as okapi_model_open()
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_delta_make(const char* base, const char* tuned, const char* delta,
                                        const okapi_delta_options* options, okapi_error** error);

/// Tells whether a delta belongs to a base, and what it says of itself.
///
/// Reads all of the base for its hash, in each call: give room (1024 bytes are enough) rather than
/// ask for the size first.
///
/// @param buffer  gets a JSON object: base_sha256, tuned_sha256, rope (the tuned model's), dtype
/// @return OKAPI_OK; OKAPI_FAILED_PRECONDITION if it was made from another base, naming both
///         hashes; OKAPI_DATA_LOSS if a part is missing or malformed (differences that were altered
///         are not noticed); OKAPI_OUT_OF_RANGE if the buffer is too small; OKAPI_NOT_FOUND;
///         OKAPI_CANCELLED
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_delta_check(const char* base, const char* delta,
                                         const okapi_delta_options* options, char* buffer,
                                         size_t capacity, size_t* needed, okapi_error** error);

/// Writes base + delta as a Hugging Face folder. Checks first.
///
/// Each weight is the tuned model's to half a unit in the last place of its difference in the
/// delta's dtype, and then rounded to the restored dtype. The configuration is the tuned model's,
/// but for torch_dtype: that of the weights written, float32 if they differ.
///
/// @param out      folder to write, made if it is not there; neither of the other two
/// @param options  borrowed for the call; NULL for defaults
/// @return as okapi_delta_check(); OKAPI_INVALID_ARGUMENT if `out` is one of the other two;
///         OKAPI_OUT_OF_RANGE if a weight does not fit its dtype
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_delta_apply(const char* base, const char* delta, const char* out,
                                         const okapi_delta_options* options, okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
