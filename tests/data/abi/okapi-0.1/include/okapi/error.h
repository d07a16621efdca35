/* Status codes, and the error object that says what was wanted, what was found and where.
 *
 *   okapi_error* error = NULL;
 *   if (okapi_model_open(runtime, path, NULL, &model, &error) != OKAPI_OK) {
 *     fprintf(stderr, "%s\n", okapi_error_message(error));
 *     okapi_error_unref(error);
 *   }
 */
#ifndef OKAPI_ERROR_H
#define OKAPI_ERROR_H

#include <okapi/api.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Result of a call. Codes are only ever added at the end.
typedef int32_t okapi_status;

#define OKAPI_OK 0
#define OKAPI_CANCELLED 1 /* the caller's cancel token was requested */
#define OKAPI_UNKNOWN 2
#define OKAPI_INVALID_ARGUMENT 3 /* an argument, a file or a setting is wrong in itself */
#define OKAPI_DEADLINE_EXCEEDED 4
#define OKAPI_NOT_FOUND 5 /* a file, a plugin, a name */
#define OKAPI_ALREADY_EXISTS 6
#define OKAPI_PERMISSION_DENIED 7
#define OKAPI_RESOURCE_EXHAUSTED 8  /* memory, disk, file handles */
#define OKAPI_FAILED_PRECONDITION 9 /* right call, wrong state; any call on a spoilt object */
#define OKAPI_ABORTED 10
#define OKAPI_OUT_OF_RANGE 11  /* past the end: of a buffer, a context, an index */
#define OKAPI_UNIMPLEMENTED 12 /* valid, but not something this build can do */
#define OKAPI_INTERNAL 13      /* a broken promise of ours; please report it */
#define OKAPI_UNAVAILABLE 14   /* a device or library is not there */
#define OKAPI_DATA_LOSS 15     /* a file is damaged */
#define OKAPI_UNAUTHENTICATED 16

/// Why a call failed. Immutable and reference counted.
typedef struct okapi_error okapi_error;

/// Name of a code, for instance "INVALID_ARGUMENT"; "UNKNOWN" for a number that is none.
/// Static storage.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API const char* okapi_status_name(okapi_status status);

/// The code; OKAPI_OK if `error` is NULL.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_error_code(const okapi_error* error);

/// The whole message: file, field and reason in one line. "" if `error` is NULL.
/// Owned by the error.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API const char* okapi_error_message(const okapi_error* error);

/// The part of okapi, or the plugin, that failed, for instance "tokenizer" or "rope.yarn"; may be
/// "". Owned by the error.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API const char* okapi_error_component(const okapi_error* error);

/// The argument, option or key at fault, for instance "rope_scaling.factor"; may be "".
/// Owned by the error.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API const char* okapi_error_field(const okapi_error* error);

/// The file at fault, or "". Owned by the error.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API const char* okapi_error_file(const okapi_error* error);

/// Where in the file: a byte offset or, for text, a line; -1 if that does not apply or `error` is
/// NULL.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API int64_t okapi_error_offset(const okapi_error* error);

/// What this error follows from, or NULL. Borrowed: lives as long as `error`.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API const okapi_error* okapi_error_cause(const okapi_error* error);

/// Takes another reference; returns its argument.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_error* okapi_error_ref(okapi_error* error);

/// Gives a reference back; NULL is allowed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_error_unref(okapi_error* error);

#ifdef __cplusplus
}
#endif

#endif
