/* Text to token ids and back.
 *
 *   okapi_tokenizer* tokenizer = NULL;
 *   okapi_model_get_tokenizer(model, &tokenizer, &error);
 *   size_t n_ids = 0;
 *   okapi_tokenizer_encode(tokenizer, text, strlen(text), 1, NULL, 0, &n_ids, &error);  // how many
 *   okapi_tokenizer_encode(tokenizer, text, strlen(text), 1, ids, n_ids, &n_ids, &error);
 */
#ifndef OKAPI_TOKENIZER_H
#define OKAPI_TOKENIZER_H

#include <okapi/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Immutable; one may be used from several threads.
typedef struct okapi_tokenizer okapi_tokenizer;

/// Opens a sentencepiece model file, or a folder that has a tokenizer.model.
///
/// @param[out] tokenizer  owned by the caller
/// @return OKAPI_OK; OKAPI_NOT_FOUND; OKAPI_DATA_LOSS on a damaged file
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_tokenizer_open(okapi_runtime* runtime, const char* path,
                                            okapi_tokenizer** tokenizer, okapi_error** error);

/// The tokenizer a model came with.
///
/// @param[out] tokenizer  owned by the caller
/// @return OKAPI_OK; OKAPI_NOT_FOUND if the model has none
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_model_get_tokenizer(const okapi_model* model,
                                                 okapi_tokenizer** tokenizer, okapi_error** error);

/// Takes another reference; returns its argument.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_tokenizer* okapi_tokenizer_ref(okapi_tokenizer* tokenizer);

/// Gives a reference back; NULL is allowed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_tokenizer_unref(okapi_tokenizer* tokenizer);

/// Token ids of a text.
///
/// @param text        UTF-8 [n_bytes], may hold NULs. Text that looks like a control token is text.
/// @param add_bos     1: BOS first
/// @param[out] ids    int32 [capacity]; NULL with capacity 0 asks for the number
/// @param[out] n_ids  ids the text has; may be NULL
/// @return OKAPI_OK; OKAPI_OUT_OF_RANGE if they do not fit (the first `capacity` are written);
///         OKAPI_FAILED_PRECONDITION if BOS is asked for and there is none
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_tokenizer_encode(const okapi_tokenizer* tokenizer, const char* text,
                                              size_t n_bytes, uint8_t add_bos, int32_t* ids,
                                              size_t capacity, size_t* n_ids, okapi_error** error);

/// Text of token ids; control tokens are left out.
///
/// @param ids  int32 [n_ids], each in [0, vocab_size)
/// @return OKAPI_OK; OKAPI_OUT_OF_RANGE if the text does not fit; OKAPI_INVALID_ARGUMENT on an id
///         out of range
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_tokenizer_decode(const okapi_tokenizer* tokenizer, const int32_t* ids,
                                              size_t n_ids, char* buffer, size_t capacity,
                                              size_t* needed, okapi_error** error);

/// Number of ids.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API int32_t okapi_tokenizer_vocab_size(const okapi_tokenizer* tokenizer);

/// Kind, file, SHA-256, vocab_size, special ids, as a JSON object.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_tokenizer_describe(const okapi_tokenizer* tokenizer, char* buffer,
                                                size_t capacity, size_t* needed,
                                                okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
