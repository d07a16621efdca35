/* A seeded, indexable stream of records, from a dataset plugin.
 *
 *   okapi_dataset* dataset = NULL;
 *   okapi_dataset_open(runtime, "lines", "{\"n_lines\": 20}", 1, &dataset, &error);
 *   okapi_dataset_record(dataset, 0, buffer, sizeof buffer, NULL, &error);  // JSON
 */
#ifndef OKAPI_DATASET_H
#define OKAPI_DATASET_H

#include <okapi/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct okapi_dataset okapi_dataset;

/// Opens a dataset.
///
/// @param name          of the plugin, or its full id
/// @param parameters    JSON object of the plugin's parameters; NULL or "": all defaults
/// @param seed          record i depends on the parameters, the seed and i alone
/// @param[out] dataset  owned by the caller
/// @return OKAPI_OK; OKAPI_NOT_FOUND on an unknown name or a missing file; OKAPI_INVALID_ARGUMENT
///         on a parameter, naming it
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_dataset_open(okapi_runtime* runtime, const char* name,
                                          const char* parameters, uint64_t seed,
                                          okapi_dataset** dataset, okapi_error** error);

/// Takes another reference; returns its argument.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_dataset* okapi_dataset_ref(okapi_dataset* dataset);

/// Gives a reference back; NULL is allowed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_dataset_unref(okapi_dataset* dataset);

/// Number of records; -1 if they never end.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API int64_t okapi_dataset_count(const okapi_dataset* dataset);

/// Record `index` as a JSON object: "kind" and the record's own fields.
///
/// @return OKAPI_OK; OKAPI_OUT_OF_RANGE past the end, or on a buffer too small
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_dataset_record(const okapi_dataset* dataset, int64_t index,
                                            char* buffer, size_t capacity, size_t* needed,
                                            okapi_error** error);

/// Plugin, version, effective parameters and seed as a JSON object.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_dataset_describe(const okapi_dataset* dataset, char* buffer,
                                              size_t capacity, size_t* needed, okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
