/* okapi.task/1: turns records into prompts or token windows, and outputs into scores.
 *
 *   item(instance, i, arena, &item);          // the host runs it on a model
 *   score(instance, &item, &output, arena, &score);
 *
 * A task never sees the model. It gets parameters, a seed, a tokenizer (through its host) and, if
 * it was opened with one, a dataset. Item i depends on these and i alone.
 */
#ifndef OKAPI_PLUGIN_TASK_H
#define OKAPI_PLUGIN_TASK_H

#include <okapi/plugin/dataset.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OKAPI_TASK_EXTENSION "okapi.task/1"

/// Records that the host lends to a task: a dataset plugin's, or prompts read from a file. A field
/// of a JSON file arrives as TEXT, NUMBER or, if it is neither, JSON. Lives until the task's close.
///
/// @since 0.1
typedef struct okapi_records {
  uint32_t struct_size;
  uint32_t reserved;
  void* context;     ///< the host's
  const char* name;  ///< dataset plugin's name, or the file
  /// [thread-safe] -1: endless.
  int32_t (*count)(const struct okapi_records* records, int64_t* count,
                   const okapi_error_sink* sink);
  /// [thread-safe] Set record->struct_size first. Its memory is the arena's.
  int32_t (*record)(const struct okapi_records* records, int64_t index, const okapi_arena* arena,
                    okapi_record* record, const okapi_error_sink* sink);
} okapi_records;

#define OKAPI_ITEM_COMPLETE 1 /* a prompt to complete */
#define OKAPI_ITEM_SCORE 2    /* a window whose tokens' log-loss is wanted */

#define OKAPI_BOS_MODEL 0 /* as the model's configuration says */
#define OKAPI_BOS_ADD 1
#define OKAPI_BOS_NONE 2

/// A part of a prompt: text to encode, or ids as they are. Parts are encoded one by one and joined,
/// so that a template can place control tokens. Frozen.
///
/// @since 0.1
typedef struct okapi_item_part {
  const char* text;  ///< [n_bytes] UTF-8, or NULL when ids are given
  int64_t n_bytes;
  const int32_t* ids;  ///< [n_ids], or NULL
  int64_t n_ids;
} okapi_item_part;

/// One question to a model. Zero in a field means what its line says, so fill only what matters.
///
/// @since 0.1
typedef struct okapi_item {
  uint32_t struct_size;
  int32_t kind;     ///< OKAPI_ITEM_COMPLETE or OKAPI_ITEM_SCORE
  const char* key;  ///< names the item within (parameters, seed, records), for instance
                    ///< "512/17"; a resumed run knows by it what is done
  const okapi_item_part* parts;  ///< [n_parts]: the prompt, or the window
  int64_t n_parts;
  int32_t bos;             ///< OKAPI_BOS_*
  int32_t ignores_eos;     ///< COMPLETE, not 0: an end-of-sequence token does not stop it
  int64_t target_length;   ///< tokens the item was built for, generated ones included; the default
                           ///< declared length of the scheme; 0: what the item takes
  int64_t min_new_tokens;  ///< COMPLETE: end-of-sequence is not chosen before
  int64_t max_new_tokens;  ///< COMPLETE: at least 1
  const char* const* stop_texts;  ///< COMPLETE [n_stop_texts]: an output that holds one has ended
  int64_t n_stop_texts;
  const int32_t* stop_ids;  ///< COMPLETE [n_stop_ids]
  int64_t n_stop_ids;
  int64_t scored_begin;  ///< SCORE: tokens [scored_begin, scored_end) of the window, BOS counted;
  int64_t scored_end;    ///< the loss at t is that of token t given those before. 0: to the end
  const okapi_field* attributes;  ///< [n_attributes] stored with the sample; results group by them
  int64_t n_attributes;
  const void* scoring_data;  ///< [n_scoring_bytes] opaque, handed back to score()
  int64_t n_scoring_bytes;
} okapi_item;

#define OKAPI_STOP_LENGTH 1 /* max_new_tokens were generated */
#define OKAPI_STOP_EOS 2    /* end of sequence */
#define OKAPI_STOP_TEXT 3   /* a stop text or stop id */
#define OKAPI_STOP_SCORED 4 /* a window: nothing was generated */

/// What a model made of an item. Borrowed for the call of score().
///
/// @since 0.1
typedef struct okapi_item_output {
  uint32_t struct_size;
  int32_t stop_reason;  ///< OKAPI_STOP_*
  const char* text;     ///< COMPLETE: generated ids decoded, [n_bytes], also NUL-terminated
  int64_t n_bytes;
  const int32_t* ids;  ///< COMPLETE: generated ids [n_ids], a final end-of-sequence id included
  int64_t n_ids;
  const double* losses;  ///< SCORE: nats per scored token [n_losses]
  int64_t n_losses;
  int64_t n_prompt_tokens;  ///< BOS included
} okapi_item_output;

/// A measured number. Frozen.
///
/// @since 0.1
typedef struct okapi_metric_value {
  const char* name;  ///< of a metric the task declares
  double value;      ///< a flag is 0 or 1
  double weight;     ///< for WEIGHTED_MEAN, for instance a number of tokens; 1 otherwise
} okapi_metric_value;

/// @since 0.1
typedef struct okapi_item_score {
  uint32_t struct_size;
  uint32_t n_values;
  const okapi_metric_value* values;  ///< [n_values]
  const char* parsed;  ///< what the answer was taken to be, NUL-terminated; NULL: nothing
} okapi_item_score;

#define OKAPI_AGGREGATE_RATE 1          /* share of flags that are 1, with Wilson's interval */
#define OKAPI_AGGREGATE_MEAN 2          /* mean, with its standard error */
#define OKAPI_AGGREGATE_WEIGHTED_MEAN 3 /* by okapi_metric_value.weight */
#define OKAPI_AGGREGATE_SUM 4

/// A metric that a task declares. Frozen.
///
/// @since 0.1
typedef struct okapi_metric {
  const char* name;   ///< "correct"
  const char* help;   ///< one line, with unit
  int32_t aggregate;  ///< OKAPI_AGGREGATE_*
  int32_t better;     ///< 1: higher is better; -1: lower; 0: neither
} okapi_metric;

/// The functions of a task, and what it says of itself.
///
/// @since 0.1
typedef struct okapi_task_v1 {
  uint32_t struct_size;
  uint32_t flags;               ///< OKAPI_TASK_*
  const char* task_version;     ///< changes whenever the same output could score otherwise
  const okapi_metric* metrics;  ///< [n_metrics]; the first is the one to print
  int64_t n_metrics;
  const char* const* group_by;  ///< [n_group_by] attributes that results are broken down by
  int64_t n_group_by;           ///< ("length", "depth")
  const char* default_dataset;  ///< dataset plugin to open when no records are given, under the
                                ///< task's seed and those of its parameters that the dataset
                                ///< declares too; NULL: none

  /// @param state          of the plugin's init
  /// @param params         checked; borrowed for the call
  /// @param host           lives until close; its tokenizer is the model's
  /// @param records        lent until close; NULL: none were given
  /// @param[out] instance  given to the other functions, freed by close
  int32_t (*open)(void* state, const okapi_params* params, uint64_t seed, const okapi_host* host,
                  const okapi_records* records, void** instance, const okapi_error_sink* sink);
  void (*close)(void* instance);

  /// @param[out] count  items 0 .. count-1 exist; -1: endless
  int32_t (*count)(void* instance, int64_t* count, const okapi_error_sink* sink);

  /// @param[in,out] item  struct_size is the host's; fill the rest, which was zeroed. Its memory
  ///                      is the arena's, constant, or the instance's until close
  /// @return OK; OUT_OF_RANGE past the end
  int32_t (*item)(void* instance, int64_t index, const okapi_arena* arena, okapi_item* item,
                  const okapi_error_sink* sink);

  /// @param item          as item() gave it, in this process or another: only what it holds counts
  /// @param[in,out] score struct_size is the host's; memory as for item
  int32_t (*score)(void* instance, const okapi_item* item, const okapi_item_output* output,
                   const okapi_arena* arena, okapi_item_score* score, const okapi_error_sink* sink);
} okapi_task_v1;

#define OKAPI_TASK_THREAD_SAFE 1u   /* calls on one instance may overlap */
#define OKAPI_TASK_NEEDS_RECORDS 2u /* cannot open without records */

#ifdef __cplusplus
}
#endif

#endif
