/* Every sample ever evaluated, in one SQLite file. Anything can open it; okapi is not needed.
 *
 *   okapi_results* results = NULL;
 *   okapi_results_open(runtime, "results/rope_retrieval.db", NULL, &results, &error);
 *   okapi_results_export(results, OKAPI_EXPORT_CSV, "results/rope_retrieval.csv", &error);
 */
#ifndef OKAPI_RESULTS_H
#define OKAPI_RESULTS_H

#include <okapi/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct okapi_results okapi_results;

/// How a results file is opened.
///
/// @since 0.1
typedef struct okapi_results_options {
  uint32_t struct_size;
  uint8_t read_only;  ///< 1: the file must exist and is not written
  uint8_t reserved[3];
} okapi_results_options;

#define OKAPI_RESULTS_OPTIONS_INIT                                     \
  {                                                                    \
    OKAPI_STRUCT_SIZE(okapi_results_options, reserved), 0, { 0, 0, 0 } \
  }

/// Opens a results file, making it and its folder if they are not there.
///
/// @param path          UTF-8
/// @param[out] results  owned by the caller
/// @return OKAPI_OK; OKAPI_DATA_LOSS if the file is no results database of a version we know;
///         OKAPI_UNAVAILABLE if another process is writing to it
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_results_open(okapi_runtime* runtime, const char* path,
                                          const okapi_results_options* options,
                                          okapi_results** results, okapi_error** error);

/// Takes another reference; returns its argument.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_results* okapi_results_ref(okapi_results* results);

/// Gives a reference back; NULL is allowed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_results_unref(okapi_results* results);

/// All runs with their aggregates, as a JSON array: model, hashes, rope, task, parameters, seed,
/// backend, dtype, plugin versions, samples done and planned, metrics with Wilson 95 % intervals,
/// in all and by length and depth.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_results_summary(const okapi_results* results, char* buffer,
                                             size_t capacity, size_t* needed, okapi_error** error);

/// All training runs, as a JSON array: created_at, identity and info (its "config" is that of
/// okapi_trainer_open()), "steps" (step, loss, gradient_norm, learning_rate, n_tokens, n_learned,
/// seconds, rope) and "evaluations" (step, rope, "buckets" by position), in order.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_results_training(const okapi_results* results, char* buffer,
                                              size_t capacity, size_t* needed, okapi_error** error);

/// The file, its schema version and whether it is read only, as a JSON object.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_results_describe(const okapi_results* results, char* buffer,
                                              size_t capacity, size_t* needed, okapi_error** error);

#define OKAPI_EXPORT_CSV 1  /* one row per sample, RFC 4180 */
#define OKAPI_EXPORT_JSON 2 /* runs, each with its samples */

/// Writes everything to a file, beside it first, then renamed into place.
///
/// @param format  OKAPI_EXPORT_*
/// @param path    UTF-8
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_results_export(const okapi_results* results, int32_t format,
                                            const char* path, okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
