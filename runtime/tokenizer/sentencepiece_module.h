/* What the module okapi_tokenizer_sentencepiece.so offers to the runtime, as a C table.
 *
 * libsentencepiece exports a protobuf of its own, which kills a host program that has another one.
 * Hence it is linked by nothing but this module, which is opened with RTLD_DEEPBIND, and only plain
 * data crosses the line: no exception, no C++ type, and no memory that one side allocates and the
 * other frees (under RTLD_DEEPBIND the two may have different allocators). */
#pragma once

#include <cstddef>
#include <cstdint>

#define OKAPI_SENTENCEPIECE_MODULE_FILE "okapi_tokenizer_sentencepiece.so"
#define OKAPI_SENTENCEPIECE_MODULE_SYMBOL "okapi_sentencepiece_module"
#define OKAPI_SENTENCEPIECE_MODULE_VERSION 2

/* Filled by a call that fails, and empty otherwise; cut to fit. */
struct okapi_sentencepiece_message {
  char text[512];
  int32_t is_out_of_memory; /* 1: the machine's memory is what was missing */
};

/* The special ids; each is -1 when the model has no such piece. */
struct okapi_sentencepiece_ids {
  int32_t n_pieces;
  int32_t unk;
  int32_t bos;
  int32_t eos;
  int32_t pad;
};

struct okapi_sentencepiece_module_v1 {
  uint32_t version; /* OKAPI_SENTENCEPIECE_MODULE_VERSION; stands first in every version */
  uint32_t struct_size;

  /* Opens a serialized model, which is not kept. NULL on failure. */
  void* (*open)(const char* model, size_t n_bytes, okapi_sentencepiece_ids* ids,
                okapi_sentencepiece_message* message);
  void (*close)(void* processor);

  /* The calls below may run at the same time on one processor. They return 0 on failure. Results
   * are the module's memory: the caller copies them and gives them back with release(). */
  int32_t (*encode)(const void* processor, const char* text, size_t n_bytes, int32_t** ids,
                    size_t* n_ids, okapi_sentencepiece_message* message);
  int32_t (*decode)(const void* processor, const int32_t* ids, size_t n_ids, char** text,
                    size_t* n_bytes, okapi_sentencepiece_message* message);
  void (*release)(void* result);

  /* The text of a piece, owned by the processor; `id` must be in range. */
  const char* (*piece)(const void* processor, int32_t id, size_t* n_bytes);
  /* 1 for control pieces such as <s>, which decode to nothing. */
  int32_t (*is_control)(const void* processor, int32_t id);
};
