/* Which plugins a runtime has found, and whether a file is a good one.
 *
 *   size_t needed = 0;
 *   okapi_runtime_plugins(runtime, NULL, 0, &needed, NULL);
 *   char* json = malloc(needed);
 *   okapi_runtime_plugins(runtime, json, needed, NULL, NULL);
 */
#ifndef OKAPI_PLUGINS_H
#define OKAPI_PLUGINS_H

#include <okapi/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

/// What was found, as a JSON object: "plugins" (kind, name, id, version, license, summary, file,
/// parameters) and "refused" (every file that was tried and why it cannot be used). Runs no plugin
/// code.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_runtime_plugins(const okapi_runtime* runtime, char* buffer,
                                             size_t capacity, size_t* needed, okapi_error** error);

/// Adds one plugin file to those of the runtime.
///
/// @return OKAPI_OK; OKAPI_NOT_FOUND; OKAPI_INVALID_ARGUMENT if it is not a plugin;
///         OKAPI_FAILED_PRECONDITION on another ABI, naming both; OKAPI_ALREADY_EXISTS if a plugin
///         of that kind and name was found before
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_runtime_add_plugin(okapi_runtime* runtime, const char* path,
                                                okapi_error** error);

/// Metadata of a plugin file as a JSON object, read from the file without running any of its code.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_plugin_info(const char* path, char* buffer, size_t capacity,
                                         size_t* needed, okapi_error** error);

/// Loads a plugin file and holds it against the contract of its kind.
///
/// @param[out] buffer  JSON object: "passed" and "checks", an array of {check, passed, detail}
/// @return OKAPI_OK also if checks fail; an error only if the file cannot be examined at all
/// @note [thread-safe] Runs the plugin's code on the calling thread.
/// @since 0.1
OKAPI_API okapi_status okapi_plugin_check(okapi_runtime* runtime, const char* path, char* buffer,
                                          size_t capacity, size_t* needed, okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
