/* What is asked of a model and how its answers are scored, from a task plugin.
 *
 *   okapi_task* task = NULL;
 *   okapi_task_open(runtime, "lines", "{\"length\": 1024, \"n_samples\": 24}", 1, tokenizer, NULL,
 *                   &task, &error);
 *   okapi_task_item(task, 0, buffer, sizeof buffer, NULL, &error);              // JSON
 *   okapi_task_score(task, 0, "17>", buffer, sizeof buffer, NULL, &error);      // JSON
 */
#ifndef OKAPI_TASK_H
#define OKAPI_TASK_H

#include <okapi/dataset.h>
#include <okapi/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct okapi_task okapi_task;

/// Opens a task.
///
/// @param name        of the plugin, or its full id
/// @param parameters  JSON object of the plugin's parameters; NULL or "": all defaults
/// @param seed        of the dataset the task opens for itself, and of its own draws
/// @param tokenizer   what lengths are counted with
/// @param dataset     where records come from; NULL: what the task chooses
/// @param[out] task   owned by the caller
/// @return as okapi_dataset_open()
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_task_open(okapi_runtime* runtime, const char* name,
                                       const char* parameters, uint64_t seed,
                                       okapi_tokenizer* tokenizer, okapi_dataset* dataset,
                                       okapi_task** task, okapi_error** error);

/// Opens a task over prompts that are given instead of made.
///
/// @param prompts_json  JSON array of objects: "prompt" and "expected", as the task reads them, and
///                      any attributes ("length", "asked", ...)
/// @note [thread-safe] Otherwise as okapi_task_open().
/// @since 0.1
OKAPI_API okapi_status okapi_task_open_prompts(okapi_runtime* runtime, const char* name,
                                               const char* parameters, const char* prompts_json,
                                               okapi_tokenizer* tokenizer, okapi_task** task,
                                               okapi_error** error);

/// Takes another reference; returns its argument.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_task* okapi_task_ref(okapi_task* task);

/// Gives a reference back; NULL is allowed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_task_unref(okapi_task* task);

/// Number of items.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API int64_t okapi_task_count(const okapi_task* task);

/// Item `index` as a JSON object: prompt, n_tokens, max_tokens, stop rule, expected, attributes.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_task_item(const okapi_task* task, int64_t index, char* buffer,
                                       size_t capacity, size_t* needed, okapi_error** error);

/// Scores an output text for item `index`: a JSON object of the task's metrics and what it parsed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_task_score(const okapi_task* task, int64_t index, const char* output,
                                        char* buffer, size_t capacity, size_t* needed,
                                        okapi_error** error);

/// Plugin, version, metrics and how each is aggregated, effective parameters, seed, as a JSON
/// object.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_task_describe(const okapi_task* task, char* buffer, size_t capacity,
                                           size_t* needed, okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
