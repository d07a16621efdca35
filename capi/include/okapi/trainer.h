/* Training: a model, or an adapter beside it, made to read further.
 *
 *   okapi_trainer* trainer = NULL;
 *   okapi_trainer_open(runtime, config, NULL, &trainer, &error);    // config: JSON text
 *   okapi_trainer_run(trainer, -1, NULL, &error);                   // all steps
 *   okapi_trainer_export(trainer, "tuned", 0, &error);              // a Hugging Face folder
 *
 * Losses are nats per learned token. The keys of the configuration, with the values that hold where
 * a key is absent; one that is not known is an error that names it:
 *
 *   model       "models/savanna-5m"   a Hugging Face folder; required
 *   init        "checkpoint"          its weights; or {"random": {"deviation": 0.02,
 *               "scale_residual": false}}: fresh normal ones of `seed`, with config.json and the
 *               tokenizer alone read from the folder. deviation: config.json's initializer_range;
 *               scale_residual: o_proj and down_proj are drawn smaller by sqrt(2 n_layers)
 *   seed        0                     of everything drawn: weights, adapters, dropout, positions
 *   steps       required              optimizer steps in all; or `epochs`, a number, where the
 *                                     dataset ends
 *   rope        {"train": "", "eval": "", "length": 0, "schedule": []}
 *     train     ""                    a rope's text; "": that of the folder's config.json
 *     eval      ""                    evaluated with and written to checkpoints; "": as `train`
 *     length    0                     declared length of ropes that depend on it; 0: batch.length
 *     schedule  [{"scheme": "xpos", "parameter": "scale_base", "from": 8192, "to": 128,
 *                 "by": 8, "every": 1}]
 *                                     after each `every` steps the value moves by `by` towards `to`
 *               [{"scheme": "linear", "parameter": "scale", "at": [[0, 1], [500, 2], [900, 4]]}]
 *                                     from each step on, the value beside it; before the first one
 *                                     the parameter is what `train` says
 *   parameters  {"train": ["all"], "groups": []}
 *     train     words and patterns    all: every tensor of the model; lora: the adapter; norm;
 *                                     embed: embedding and output. Anything else is a pattern over
 *                                     tensor names in which * and ? stand for any characters.
 *                                     Default: lora if there is one, else all
 *     groups    [{"match": ["norm"], "learning_rate_factor": 1, "weight_decay": 0}]
 *                                     options of the tensors that match; the first match counts
 *   lora        absent                {"rank": 8, "alpha": 16, "dropout": 0, "targets": all seven,
 *                                     "from": "folder"}; `from`: start with a peft folder, whose
 *                                     rank, alpha and targets then hold
 *   optimizer   {"learning_rate": required, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8,
 *                "weight_decay": 0, "decay_vectors": true, "clip": 1}
 *     decay_vectors                   whether tensors of one dimension (norms) decay too
 *     clip                            largest global norm of the gradient; 0: no limit
 *   schedule    {"kind": "constant", "warmup": 0, "floor": 0}
 *     kind      constant, linear or cosine; falls to `floor` (a share of the learning rate) at the
 *               last step, after `warmup` steps of linear rise
 *   batch       {"sequences": required, "micro": 0, "length": 0}
 *     sequences windows in a step; or `tokens`: as many windows as hold that many tokens
 *     micro     0                     windows computed at once; 0: all of the step
 *     length    0                     most tokens of a window; 0: what the data say
 *   data        required              what is trained on, see below
 *   recompute   "auto"                true: activations of a layer are computed again in the
 *                                     backward pass; auto: when those of a micro batch would take
 *                                     more than half of the memory that parameters leave
 *   compute_dtype "auto"              what products and activations are computed in: f32, or bf16
 *                                     with f32 masters of the weights; auto: what suits the backend
 *   deterministic true                the same run gives the same bytes; false: a backend may add
 *                                     gradients in the order in which they are ready, where that is
 *                                     faster
 *   base_dtype  "auto"                of weights that are not trained: f32, bf16; auto: as the
 *                                     file, but bf16 if that is computed in
 *   pair_layout "half_split"          how rotary pairs lie in the rows of q and k: half_split or
 *               interleaved; files keep what they have
 *   checkpoint  {"folder": "", "every": 0, "keep": 2, "keep_best": true, "dtype": "f32"}
 *     folder    ""                    nothing is saved
 *     every     0                     steps; 0: at the end and when cancelled
 *     keep      2                     the newest so many; 0: all. keep_best: also the one with the
 *               lowest evaluation loss
 *     dtype     f32                   of the model's file; with bf16 the f32 masters lie beside it
 *   evaluation  {"every": 0, "windows": 0, "bucket": 512, "data": absent}
 *     every     0                     steps; 0: never by itself. windows: how many; 0: all. What is
 *               evaluated is `data`, or else what the run's own data hold out
 *     bucket    512                   tokens of a position bucket
 *   divergence  {"nats": 3, "steps": 8}
 *                                     the run stops when the mean loss of the last `steps` steps
 *                                     exceeds the lowest such mean by more than `nats`; 0: never
 *   results     ""                    a results database that receives the curves
 *
 * The keys of `data` and of `evaluation.data`, by example:
 *
 *   {"dataset": "jsonl", "params": {"path": "corpus/", "min_characters": 20481},
 *    "length": 4096, "overlap": 2048, "bos": "none", "holdout": 5000, "holdout_windows": 3000}
 *
 *   {"mixture": [{"weight": 0.85, "dataset": "lines", "params": {"training": true,
 *                 "style": "compact", "length": 512}},
 *                {"weight": 0.15, "dataset": "text", "params": {"path": "prose.txt.gz"}}],
 *    "length": 512, "holdout": 64}
 *
 * One of these keys says where the windows come from:
 *
 *   dataset   name of a dataset plugin. `params` are its parameters, `seed` its seed (default: the
 *             trainer's).
 *   tokens    a file that `okapi data prepare` wrote.
 *   mixture   array of objects with these same keys and `weight` (above 0, default 1): shares of
 *             windows. An entry takes length, holdout, holdout_windows and split_seed from the
 *             mixture where it does not have them.
 *
 * The others:
 *
 *   length           most tokens of a window; needed.
 *   overlap          tokens that a window shares with the one before (default 0). Giraffe's corpus
 *                    stage has length / 2.
 *   pack             true: documents one after another are one long text; false (the default): no
 *                    window mixes two.
 *   bos              "document" (default: before each document), "window" (before each window) or
 *                    "none".
 *   eos              true: after each text (default false). A chat's answers always end with it.
 *   system           system text of conversations (default: Vicuna's).
 *   shuffle          false: always in the order of the documents (default true: each epoch in
 *                    an order of its own).
 *   holdout          records kept for validation: a number of them, or a share below 1 (default
 *                    0). Which ones depends on split_seed alone. Of an endless dataset: its first.
 *   holdout_windows  most windows of them (default: all), drawn under split_seed.
 *   split_seed       default 24301.
 *   max_memory       bytes that the tokens of a dataset that ends may take (default 2^32).
 *
 * Unknown keys are errors. With `tokens`, the keys that only matter when tokens are made (params,
 * seed, eos, system, bos "document", max_memory) are refused: the file has them.
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
