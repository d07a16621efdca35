/* okapi.dataset/1: a seeded, indexable stream of records.
 *
 *   int32_t record(void* instance, int64_t index, const okapi_arena* arena, okapi_record* out,
 * sink);
 *
 * Record i depends on (parameters, seed, i) and on the instance's tokenizer alone: any order, any
 * process, the same bytes.
 */
#ifndef OKAPI_PLUGIN_DATASET_H
#define OKAPI_PLUGIN_DATASET_H

#include <okapi/plugin/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OKAPI_DATASET_EXTENSION "okapi.dataset/1"

#define OKAPI_FIELD_TEXT 1   /* UTF-8 */
#define OKAPI_FIELD_NUMBER 2 /* a finite double; counts up to 2^53 are exact */
#define OKAPI_FIELD_JSON 3   /* UTF-8 text of a JSON value: an array, object, boolean or null */

/// A named value. Frozen.
///
/// @since 0.1
typedef struct okapi_field {
  const char* name;  ///< NUL-terminated
  int32_t type;      ///< OKAPI_FIELD_TEXT, _NUMBER or _JSON
  int32_t reserved;  ///< 0
  double number;     ///< NUMBER; else 0
  const char* text;  ///< TEXT and JSON, [n_bytes], also NUL-terminated; else ""
  int64_t n_bytes;
} okapi_field;

/* Kinds of records, and the fields that each has at least. A plugin may name others.
 *
 * A text may also have `learned`: a JSON array of [begin, end), ascending and apart, byte ranges of
 * the text between characters. Training then has loss on these alone, and else on all of it. The
 * turns of a conversation have the roles "user" and "assistant", by turns, the user first; training
 * has loss on what the assistant says. Both may have `source`, the file and line that a person
 * looks up. */
#define OKAPI_RECORD_TEXT "text"                  /* text */
#define OKAPI_RECORD_CONVERSATION "conversation"  /* turns: JSON array of {role, text} */
#define OKAPI_RECORD_QUESTION "document+question" /* document, question, answers (JSON array) */
#define OKAPI_RECORD_PROMPT "prompt"              /* prompt, and what scoring it needs */

/// One record.
///
/// @since 0.1
typedef struct okapi_record {
  uint32_t struct_size;
  uint32_t n_fields;
  const char* kind;           ///< OKAPI_RECORD_* or the plugin's own
  const okapi_field* fields;  ///< [n_fields], names differ
} okapi_record;

/// The functions of a dataset. Status and error as plugin.h says.
///
/// @since 0.1
typedef struct okapi_dataset_v1 {
  uint32_t struct_size;
  uint32_t flags;  ///< OKAPI_DATASET_*

  /// @param state          of the plugin's init
  /// @param params         checked; borrowed for the call
  /// @param host           lives until close; its tokenizer, if any, is the model's
  /// @param[out] instance  given to the other functions, freed by close
  int32_t (*open)(void* state, const okapi_params* params, uint64_t seed, const okapi_host* host,
                  void** instance, const okapi_error_sink* sink);
  void (*close)(void* instance);

  /// @param[out] count  records 0 .. count-1 exist; -1: endless
  int32_t (*count)(void* instance, int64_t* count, const okapi_error_sink* sink);

  /// @param index         0 .. count-1, in any order
  /// @param arena         for all that *record points to; it may also point to constants and to
  ///                      memory of the instance that lives until close
  /// @param[in,out] record  struct_size is the host's; fill the rest
  /// @return OK; OUT_OF_RANGE past the end
  int32_t (*record)(void* instance, int64_t index, const okapi_arena* arena, okapi_record* record,
                    const okapi_error_sink* sink);
} okapi_dataset_v1;

#define OKAPI_DATASET_THREAD_SAFE 1u /* calls on one instance may overlap */

#ifdef __cplusplus
}
#endif

#endif
