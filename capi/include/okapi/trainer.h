/* Training: a model, or an adapter beside it, made to read further.
 *
 *   okapi_trainer* trainer = NULL;
 *   okapi_trainer_open(runtime, config, NULL, &trainer, &error);    // config: JSON text
 *   okapi_trainer_run(trainer, -1, NULL, &error);                   // all steps
 *   okapi_trainer_export(trainer, "tuned", 0, &error);              // a Hugging Face folder
 *
 * The keys of the configuration, with their defaults, stand in runtime/training/trainer_config.h;
 * one that is not known is an error that names it. Losses are nats per learned token.
 */
#ifndef OKAPI_TRAINER_H
#define OKAPI_TRAINER_H

#include <okapi/cancel.h>
#include <okapi/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct okapi_trainer okapi_trainer;

/// How a trainer is opened.
///
/// @since 0.1
typedef struct okapi_trainer_options {
  uint32_t struct_size;
  uint8_t resume;  ///< 1: go on from the newest whole checkpoint, if there is one
  uint8_t reserved[3];
  okapi_progress_callback progress;  ///< [callback] records made into tokens; may be NULL
  void* progress_user_data;
  okapi_cancel* cancel;  ///< of opening; borrowed for the call; may be NULL
} okapi_trainer_options;

#define OKAPI_TRAINER_OPTIONS_INIT \
  { OKAPI_STRUCT_SIZE(okapi_trainer_options, cancel), 0, {0, 0, 0}, NULL, NULL, NULL }

/// Reads the model, opens the data, makes or loads the adapter, allocates everything.
///
/// @param config  JSON object
/// @param options  may be NULL
/// @param[out] trainer  owned by the caller
/// @return OKAPI_OK; OKAPI_INVALID_ARGUMENT naming the key; OKAPI_NOT_FOUND;
///         OKAPI_ALREADY_EXISTS if the folder holds checkpoints and resume is 0;
///         OKAPI_FAILED_PRECONDITION if a checkpoint belongs to another configuration, model or
///         data; OKAPI_UNIMPLEMENTED if the backend does not train
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_trainer_open(okapi_runtime* runtime, const char* config,
                                          const okapi_trainer_options* options,
                                          okapi_trainer** trainer, okapi_error** error);

/// Takes another reference; returns its argument.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_trainer* okapi_trainer_ref(okapi_trainer* trainer);

/// Gives a reference back; NULL is allowed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_trainer_unref(okapi_trainer* trainer);

/// Makes one optimizer step. A step is all or nothing: one that fails changes nothing.
///
/// @return OKAPI_OK; OKAPI_OUT_OF_RANGE when all steps are done; OKAPI_ABORTED, naming step,
///         windows and last checkpoint, when loss or gradient is not finite or the loss diverges;
///         OKAPI_CANCELLED
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_trainer_step(okapi_trainer* trainer, okapi_error** error);

#define OKAPI_METRICS_STEP 1       /* "step" of okapi_trainer_metrics' object */
#define OKAPI_METRICS_EVALUATION 2 /* "evaluation" of it */
#define OKAPI_METRICS_CHECKPOINT 3 /* "checkpoint" of it */

/// Hears what a run measures. [callback] Called on the thread that runs, after each event; may
/// request the cancel token; must not call anything else of okapi.
///
/// @param kind  OKAPI_METRICS_*
/// @param json  one object, borrowed for the call
/// @since 0.1
typedef void (*okapi_metrics_callback)(int32_t kind, const char* json, void* user_data);

/// What a run of a trainer listens to and tells.
///
/// @since 0.1
typedef struct okapi_train_options {
  uint32_t struct_size;
  uint8_t reserved[4];
  okapi_progress_callback progress;  ///< [callback] steps; may be NULL
  void* progress_user_data;
  okapi_metrics_callback metrics;  ///< [callback] may be NULL
  void* metrics_user_data;
  okapi_cancel* cancel;  ///< borrowed for the call; may be NULL
} okapi_train_options;

#define OKAPI_TRAIN_OPTIONS_INIT \
  { OKAPI_STRUCT_SIZE(okapi_train_options, cancel), {0, 0, 0, 0}, NULL, NULL, NULL, NULL, NULL }

/// Lets calls on this trainer be stopped by `cancel`; NULL takes it away. The trainer holds the
/// token. A step that is cancelled changes nothing, an export leaves no model, and a checkpoint is
/// always written whole.
///
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_trainer_set_cancel(okapi_trainer* trainer, okapi_cancel* cancel,
                                                okapi_error** error);

/// Steps, evaluates and saves as configured; saves at the end, and before it returns cancelled.
///
/// @param until    steps done in all at which to stop; -1: all of them
/// @param options  may be NULL
/// @return as okapi_trainer_step; OKAPI_CANCELLED: call again to go on
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_trainer_run(okapi_trainer* trainer, int64_t until,
                                         const okapi_train_options* options, okapi_error** error);

/// Measures the loss on the held-out windows under the evaluation rope.
///
/// @return OKAPI_OK; OKAPI_FAILED_PRECONDITION if no windows are held out; OKAPI_CANCELLED
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_trainer_evaluate(okapi_trainer* trainer, okapi_error** error);

/// Writes a checkpoint of the present step to the configured folder.
///
/// @return OKAPI_OK; OKAPI_FAILED_PRECONDITION if no folder is configured
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_trainer_save(okapi_trainer* trainer, okapi_error** error);

/// The latest of each kind that this trainer measured, as a JSON object: "step" (step from 1, loss,
/// gradient_norm, learning_rate, n_tokens, n_learned, seconds, tokens_per_second, rope),
/// "evaluation" (step, loss, n_tokens, rope, buckets with first_position, last_position, loss,
/// n_tokens) and "checkpoint" (step, path). What has not happened yet is absent.
///
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_trainer_metrics(const okapi_trainer* trainer, char* buffer,
                                             size_t capacity, size_t* needed, okapi_error** error);

/// Writes what was trained, without what it takes to go on: the model as a Hugging Face folder, or
/// the adapter as a peft folder.
///
/// @param folder  made if it is not there; neither the model's nor lora.from
/// @param merged  1: the model with the adapter in it
/// @return OKAPI_OK; OKAPI_INVALID_ARGUMENT if the folder is one of those two, or if `merged` is 1
///         and there is no adapter; OKAPI_NOT_FOUND if it cannot be made; OKAPI_CANCELLED
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_trainer_export(okapi_trainer* trainer, const char* folder,
                                            uint8_t merged, okapi_error** error);

/// Makes the folder and fails as okapi_trainer_export() would, the disk's room apart: to be asked
/// before a long run, which should not end there.
///
/// @param folder  as there
/// @param merged  as there
/// @return as there, but never OKAPI_CANCELLED
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_trainer_check_export(const okapi_trainer* trainer, const char* folder,
                                                  uint8_t merged, okapi_error** error);

/// Configuration in force, steps done and in all, data position, ropes, memory by part, as a JSON
/// object.
///
/// @note [session]
/// @since 0.1
OKAPI_API okapi_status okapi_trainer_describe(const okapi_trainer* trainer, char* buffer,
                                              size_t capacity, size_t* needed, okapi_error** error);

/// What a run would take, before anything is allocated: memory by part, FLOPs, expected time, and
/// if it does not fit by how much and what would make it fit. Measures the rate of products for
/// about a second. A call that asks for the size plans; the next one of that thread with the same
/// configuration, and with a buffer, copies that plan.
///
/// @param buffer  gets a JSON object; its "text" is a table for people
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_trainer_plan(okapi_runtime* runtime, const char* config, char* buffer,
                                          size_t capacity, size_t* needed, okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
