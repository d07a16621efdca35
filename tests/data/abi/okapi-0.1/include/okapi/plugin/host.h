/* What a plugin may call: memory, log, seeded random numbers and, for datasets and tasks, a
 * tokenizer.
 *
 *   host->log(host, OKAPI_HOST_LOG_INFO, "read 600 words");
 *   const okapi_tokenizer_service_v1* tokens = host->get_extension(host, OKAPI_TOKENIZER_SERVICE);
 *
 * The host given to init lives until deinit. The one given to a dataset's or task's open belongs to
 * that instance and lives until its close; it alone may have a tokenizer.
 */
#ifndef OKAPI_PLUGIN_HOST_H
#define OKAPI_PLUGIN_HOST_H

#include <okapi/plugin/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Levels of log records: values of OKAPI_LOG_* in <okapi/log.h>. */
#define OKAPI_HOST_LOG_TRACE 1
#define OKAPI_HOST_LOG_DEBUG 2
#define OKAPI_HOST_LOG_INFO 3
#define OKAPI_HOST_LOG_WARN 4
#define OKAPI_HOST_LOG_ERROR 5

/// A stream of random numbers, the same on every machine: draw number `counter` of (seed, stream).
/// A plain value: copy it, or set `counter`, to draw the same numbers again. Frozen.
///
/// @note One thread at a time per value.
/// @since 0.1
typedef struct okapi_random {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t seed;
  uint64_t stream;
  uint64_t counter;  ///< draws taken so far

  /// 64 random bits.
  uint64_t (*next)(struct okapi_random* random);

  /// In [0, 1), a multiple of 2^-53.
  double (*uniform)(struct okapi_random* random);

  /// In [low, high], each equally likely. Requires low <= high.
  int64_t (*uniform_int)(struct okapi_random* random, int64_t low, int64_t high);
} okapi_random;

/// Memory that the host frees, all at once, after it has used what the call returned. Borrowed for
/// the call; what was allocated outlives it as the function says.
///
/// @note One thread at a time.
/// @since 0.1
typedef struct okapi_arena {
  uint32_t struct_size;
  uint32_t reserved;
  void* context;  ///< the host's
  /// `n_bytes` bytes, zeroed, aligned for any type; NULL if memory is short. Never freed singly.
  void* (*allocate)(const struct okapi_arena* arena, size_t n_bytes);
} okapi_arena;

/// The host's table. All functions are [thread-safe].
///
/// @since 0.1
struct okapi_host {
  uint32_t struct_size;
  uint32_t abi_major;  ///< OKAPI_PLUGIN_ABI_MAJOR the host was built with
  uint32_t abi_minor;  ///< OKAPI_PLUGIN_ABI_MINOR the host was built with
  uint32_t reserved;
  const char* version;  ///< of okapi, for messages
  void* context;        ///< the host's

  /// A service by id and revision, as okapi_tokenizer_service_v1 for "okapi.tokenizer/1"; NULL if
  /// this host has none. Lives as long as the host.
  const void* (*get_extension)(const okapi_host* host, const char* id);

  /// Memory, aligned for any type; NULL if it is short. Optional to use.
  void* (*allocate)(const okapi_host* host, size_t n_bytes);
  void (*release)(const okapi_host* host, void* memory);  ///< NULL is allowed

  /// One message to the log of the runtime, under the plugin's id. `message` is copied.
  void (*log)(const okapi_host* host, int32_t level, const char* message);

  /// Starts the stream of (seed, stream) at draw 0 in *random.
  void (*random)(const okapi_host* host, uint64_t seed, uint64_t stream, okapi_random* random);
};

/* The log as an extension, for code that is handed nothing else. */
#define OKAPI_LOG_SERVICE "okapi.log/1"

/// @since 0.1
typedef struct okapi_log_service_v1 {
  uint32_t struct_size;
  uint32_t reserved;
  void* context;
  /// [thread-safe] `component` says who speaks; NULL: the plugin. Text is copied.
  void (*log)(const struct okapi_log_service_v1* service, int32_t level, const char* component,
              const char* message);
} okapi_log_service_v1;

#define OKAPI_TOKENIZER_SERVICE "okapi.tokenizer/1"

/// The tokenizer of the model that a dataset or task will meet. The model itself stays out of
/// sight. Functions return a status and are [thread-safe].
///
/// @since 0.1
typedef struct okapi_tokenizer_service_v1 {
  uint32_t struct_size;
  int32_t vocab_size;
  int32_t bos_id;  ///< -1: the model has none
  int32_t eos_id;  ///< -1: none
  void* context;   ///< the host's

  /// Text to ids. Writes at most `capacity` ids and the full count to *n_ids; NULL with 0 only
  /// counts. OUT_OF_RANGE if the ids do not fit in a buffer that was given.
  ///
  /// @param add_bos  not 0: the beginning-of-sequence id, if the model has one, comes first
  int32_t (*encode)(const struct okapi_tokenizer_service_v1* tokenizer, const char* text,
                    int64_t n_bytes, int32_t add_bos, int32_t* ids, int64_t capacity,
                    int64_t* n_ids, const okapi_error_sink* sink);

  /// Ids to text, without a NUL. Writes at most `capacity` bytes and the full count to *n_bytes.
  int32_t (*decode)(const struct okapi_tokenizer_service_v1* tokenizer, const int32_t* ids,
                    int64_t n_ids, char* text, int64_t capacity, int64_t* n_bytes,
                    const okapi_error_sink* sink);

  /// How many ids encode() gives.
  int32_t (*count)(const struct okapi_tokenizer_service_v1* tokenizer, const char* text,
                   int64_t n_bytes, int32_t add_bos, int64_t* n_ids, const okapi_error_sink* sink);

  /// The most pieces with which head + piece[0] + .. + piece[n-1] + tail, encoded as one text, has
  /// at most `max_tokens` ids. Adding a piece must not shorten the text's ids. Found by bisection:
  /// a handful of encodings.
  ///
  /// @param pieces             [n_pieces] UTF-8, NUL-terminated
  /// @param[out] n_fitting     0 .. n_pieces
  /// @param[out] n_tokens      ids of the fitting text
  /// @return OK; OUT_OF_RANGE if head and tail alone are too long
  int32_t (*fit)(const struct okapi_tokenizer_service_v1* tokenizer, const char* head,
                 const char* const* pieces, int64_t n_pieces, const char* tail, int32_t add_bos,
                 int64_t max_tokens, int64_t* n_fitting, int64_t* n_tokens,
                 const okapi_error_sink* sink);
} okapi_tokenizer_service_v1;

#ifdef __cplusplus
}
#endif

#endif
