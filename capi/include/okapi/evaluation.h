/* A task put to a model under a position scheme. Each sample is kept as it finishes; a run that was
 * killed goes on where it stopped.
 *
 *   okapi_evaluation* evaluation = NULL;
 *   okapi_evaluation_options options = OKAPI_EVALUATION_OPTIONS_INIT;
 *   options.rope = rope; options.results = results;
 *   okapi_evaluation_create(task, model, &options, &evaluation, &error);
 *   okapi_evaluation_run(evaluation, NULL, &error);
 *   okapi_evaluation_report(evaluation, buffer, sizeof buffer, NULL, &error);  // JSON
 */
#ifndef OKAPI_EVALUATION_H
#define OKAPI_EVALUATION_H

#include <okapi/results.h>
#include <okapi/session.h>
#include <okapi/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct okapi_evaluation okapi_evaluation;

/// How an evaluation is run.
///
/// @since 0.1
typedef struct okapi_evaluation_options {
  uint32_t struct_size;
  int32_t batch_size;      ///< most sequences in flight; 0: what suits the backend
  const okapi_rope* rope;  ///< NULL: what the model's configuration says
  /// As in okapi_session_options: 0, a length in tokens, or follow. Prompts that were given are
  /// then read as one model object of transformers reads them in their order: at no less than the
  /// longest input before, back to one within the trained length.
  int64_t rope_length;
  okapi_results* results;        ///< where samples are kept; NULL: only in this object
  int64_t max_samples;           ///< the first so many items; 0: all
  const okapi_adapter* adapter;  ///< beside the model's weights, opened for this model; NULL: none
  /// 1: answers are the same to the bit at every batch size. Prompts then have passes of their own
  /// and share no beginnings.
  uint8_t deterministic;
  uint8_t reserved[7];
} okapi_evaluation_options;

#define OKAPI_EVALUATION_OPTIONS_INIT                                                          \
  {                                                                                            \
    OKAPI_STRUCT_SIZE(okapi_evaluation_options, reserved), 0, NULL, 0, NULL, 0, NULL, 0, { 0 } \
  }

/// Plans an evaluation. If the results hold samples of the very same one (model, adapter, scheme,
/// task, parameters, seed, plugin versions, dtype, backend), those are taken over and not computed
/// again.
///
/// @param[out] evaluation  owned by the caller; holds task, model, adapter, rope and results
/// @return OKAPI_OK; OKAPI_FAILED_PRECONDITION if the task counts with another tokenizer than the
///         model's; OKAPI_INVALID_ARGUMENT also if the adapter was opened for another model
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_evaluation_create(okapi_task* task, okapi_model* model,
                                               const okapi_evaluation_options* options,
                                               okapi_evaluation** evaluation, okapi_error** error);

/// Takes another reference; returns its argument.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_evaluation* okapi_evaluation_ref(okapi_evaluation* evaluation);

/// Gives a reference back; NULL is allowed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_evaluation_unref(okapi_evaluation* evaluation);

/// What a run listens to and tells.
///
/// @since 0.1
typedef struct okapi_run_options {
  uint32_t struct_size;
  uint8_t reserved[4];
  okapi_progress_callback progress;  ///< samples; may be NULL
  void* progress_user_data;
  okapi_cancel* cancel;  ///< may be NULL
} okapi_run_options;

#define OKAPI_RUN_OPTIONS_INIT \
  { OKAPI_STRUCT_SIZE(okapi_run_options, cancel), {0, 0, 0, 0}, NULL, NULL, NULL }

/// Computes the samples that are missing.
///
/// @param options  borrowed for the call; NULL for defaults
/// @return OKAPI_OK; OKAPI_CANCELLED, with all finished samples kept: call again to go on
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_evaluation_run(okapi_evaluation* evaluation,
                                            const okapi_run_options* options, okapi_error** error);

/// Result so far as a JSON object: "metrics" (name, value, low, high, n: Wilson 95 % interval for
/// proportions), "groups" by length and depth, "samples" in item order (output_ids, output, parsed,
/// the task's metrics such as correct, attributes), "run" (all that identifies it), "prefill" (of
/// what this object computed: n_prompt_tokens, and n_shared_tokens, those of them that were read
/// once for several items that begin alike), n_done and n_items.
///
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_evaluation_report(const okapi_evaluation* evaluation, char* buffer,
                                               size_t capacity, size_t* needed,
                                               okapi_error** error);

/// Effective options as a JSON object: task, model, adapter, rope (canonical), declared length,
/// batch_size, results file, n_items.
///
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_evaluation_describe(const okapi_evaluation* evaluation, char* buffer,
                                                 size_t capacity, size_t* needed,
                                                 okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
