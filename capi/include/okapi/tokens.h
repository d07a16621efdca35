/* Files of tokens: a dataset made into the ids of one tokenizer, once, to train on.
 *
 *   const char* config = "{\"dataset\": \"jsonl\", \"params\": {\"path\": \"corpus/\"}}";
 *   okapi_tokens_prepare(runtime, tokenizer, config, "corpus.tokens", NULL, &error);
 *
 * Training then reads {"tokens": "corpus.tokens", "length": 4096}; the file is mapped, so it may be
 * larger than memory.
 */
#ifndef OKAPI_TOKENS_H
#define OKAPI_TOKENS_H

#include <okapi/cancel.h>
#include <okapi/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Options of okapi_tokens_prepare().
///
/// @since 0.1
typedef struct okapi_tokens_options {
  uint32_t struct_size;
  uint8_t reserved[4];
  uint64_t seed;                     ///< of the dataset, where the configuration names none
  okapi_progress_callback progress;  ///< [callback] hears how many records are done; may be NULL
  void* progress_user_data;
  okapi_cancel* cancel;  ///< borrowed for the call; may be NULL
} okapi_tokens_options;

#define OKAPI_TOKENS_OPTIONS_INIT \
  { OKAPI_STRUCT_SIZE(okapi_tokens_options, cancel), {0, 0, 0, 0}, 0, NULL, NULL, NULL }

/// Makes the records of a dataset into tokens and writes them to a file. What stood under `path`
/// stays until the new file is whole; a call that fails or is cancelled leaves nothing.
///
/// @param config   JSON object: `dataset` (name of a plugin whose records are texts or
///                 conversations and have an end), `params` (its parameters), `seed`, `bos`
///                 ("document", the default, or "none"), `eos` (true: after each text), `system`
///                 (of conversations, whose template is Vicuna's), `length` (conversations are
///                 split to so many tokens, between rounds)
/// @param options  may be NULL
/// @return OKAPI_OK; OKAPI_INVALID_ARGUMENT naming the key, or file and line of a record;
///         OKAPI_NOT_FOUND; OKAPI_RESOURCE_EXHAUSTED on a full disk; OKAPI_CANCELLED
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_tokens_prepare(okapi_runtime* runtime,
                                            const okapi_tokenizer* tokenizer, const char* config,
                                            const char* path, const okapi_tokens_options* options,
                                            okapi_error** error);

/// What a file holds, as a JSON object: n_documents, n_tokens, n_learned, sha256 of the contents,
/// dataset (plugin, version, parameters, seed, count) and documents (choices, tokenizer).
///
/// @param verify  1: reads all tokens and compares them with the SHA-256
/// @return OKAPI_OK; OKAPI_NOT_FOUND; OKAPI_DATA_LOSS if it is no such file, cut off or damaged
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_tokens_describe(okapi_runtime* runtime, const char* path,
                                             uint8_t verify, char* buffer, size_t capacity,
                                             size_t* needed, okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
