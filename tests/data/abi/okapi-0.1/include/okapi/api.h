/* What every okapi header needs: the export mark and the size of a versioned struct. */
#ifndef OKAPI_API_H
#define OKAPI_API_H

#include <stddef.h>
#include <stdint.h>

#if defined(OKAPI_BUILDING_LIBRARY)
#define OKAPI_API __attribute__((visibility("default")))
#else
#define OKAPI_API
#endif

/* Bytes of a struct up to and including `last_field`, without tail padding, so that a struct that
 * grows by a field always grows in size. */
#define OKAPI_STRUCT_SIZE(type, last_field) \
  ((uint32_t)(offsetof(type, last_field) + sizeof(((type*)0)->last_field)))

/* Element types of tensors: values of int32_t fields and arguments named dtype. */
#define OKAPI_DTYPE_DEFAULT 0 /* as the checkpoint, or the backend, has it */
#define OKAPI_DTYPE_F32 1
#define OKAPI_DTYPE_F16 2
#define OKAPI_DTYPE_BF16 3

/*
 * Conventions of every function, said once:
 *
 * - Tags: [thread-safe] may be called from any thread at any time; [session] one call at a time on
 *   this object, from any thread; [callback] is called by the library.
 * - A function that can fail returns okapi_status and takes `okapi_error** error` last, which may
 * be NULL; on failure *error is an owned okapi_error, on success it is set to NULL.
 * - An out-parameter that would receive a new object is set to NULL on failure.
 * - A function that returns a plain value cannot fail: on a NULL object, or if the value cannot be
 *   had, it returns 0, NULL or "", unless it says otherwise.
 * - An argument that may be NULL is said to be so; NULL for any other is OKAPI_INVALID_ARGUMENT,
 *   with the argument's name in okapi_error_field().
 * - Text goes out into a buffer of the caller: `buffer` [capacity] bytes receives the UTF-8 text
 * and a NUL, *needed (may be NULL) the bytes that took, NUL included. NULL with capacity 0 only
 * asks for the size; too small a buffer is OKAPI_OUT_OF_RANGE and holds the text cut short.
 * - Options structs are passed by const pointer; NULL means all defaults; zero in a field means its
 *   default. Start from OKAPI_X_OPTIONS_INIT, which sets struct_size. Fields that a smaller
 *   struct_size leaves out have their defaults; bytes that a larger one adds must be zero, as must
 *   reserved fields. A uint8_t is a boolean: 0 or 1.
 * - `user_data` with a destroy function is the library's once the call that took it has succeeded:
 *   destroy is then called exactly once, from whichever thread lets go last. After a failure it is
 *   still the caller's.
 * - x_unref(NULL) does nothing. Children hold their parents, so any order of unref is legal.
 * - After an error every object is as usable as before it. The one exception is an object whose
 * state a broken promise of ours (OKAPI_INTERNAL) may have spoilt: each later call that would use
 * that state returns OKAPI_FAILED_PRECONDITION, with the first error as its cause.
 */

#endif
