/* Stopping a long call, and hearing how far it is.
 *
 *   okapi_cancel* cancel = NULL;
 *   okapi_cancel_create(&cancel, NULL);
 *   options.cancel = cancel;            // of the long call
 *   okapi_cancel_request(cancel);       // from any thread, or from a signal handler
 */
#ifndef OKAPI_CANCEL_H
#define OKAPI_CANCEL_H

#include <okapi/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/// A flag that long calls look at: within one layer of the model on the CPU, one launched graph on
/// a GPU. A cancelled call returns OKAPI_CANCELLED and leaves every object usable.
typedef struct okapi_cancel okapi_cancel;

/// Makes a token that is not requested.
///
/// @param[out] cancel  owned by the caller
/// @return OKAPI_OK; OKAPI_RESOURCE_EXHAUSTED
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_cancel_create(okapi_cancel** cancel, okapi_error** error);

/// Asks every call that holds the token to stop. Also safe in a signal handler.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_cancel_request(okapi_cancel* cancel);

/// 1 once requested, until reset; 0 for NULL.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API uint8_t okapi_cancel_requested(const okapi_cancel* cancel);

/// Makes the token usable again.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_cancel_reset(okapi_cancel* cancel);

/// Takes another reference; returns its argument.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_cancel* okapi_cancel_ref(okapi_cancel* cancel);

/// Gives a reference back; NULL is allowed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_cancel_unref(okapi_cancel* cancel);

/// How far a long call is. Everything it points to is borrowed for the call.
///
/// @since 0.1
typedef struct okapi_progress {
  uint32_t struct_size;
  uint8_t reserved[4];
  const char* stage;   ///< "load", "prefill", "evaluate"
  int64_t done;        ///< units finished: bytes, tokens, samples
  int64_t total;       ///< units in all; 0 if not known
  const char* detail;  ///< one line for a person, may be ""
} okapi_progress;

/// Hears of progress. [callback] Called on the thread that made the long call, a few times a second
/// at most; may request the cancel token; must not call anything else of okapi.
///
/// @since 0.1
typedef void (*okapi_progress_callback)(const okapi_progress* progress, void* user_data);

#ifdef __cplusplus
}
#endif

#endif
