#include "capi/src/cancel_object.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

okapi_status okapi_cancel_create(okapi_cancel** cancel, okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(cancel, "cancel");
    *cancel = new okapi_cancel();
  });
}

// Safe in a signal handler: one store to a lock-free atomic, no memory, no lock.
void okapi_cancel_request(okapi_cancel* cancel) {
  static_assert(std::atomic<bool>::is_always_lock_free);
  guard_void(__func__, [&] {
    if (cancel != nullptr) cancel->token->request();
  });
}

uint8_t okapi_cancel_requested(const okapi_cancel* cancel) {
  return guard_value(__func__, uint8_t{0}, [&] {
    return static_cast<uint8_t>(cancel != nullptr && cancel->token->requested());
  });
}

void okapi_cancel_reset(okapi_cancel* cancel) {
  guard_void(__func__, [&] {
    if (cancel != nullptr) cancel->token->reset();
  });
}

okapi_cancel* okapi_cancel_ref(okapi_cancel* cancel) { return ref(__func__, cancel); }

void okapi_cancel_unref(okapi_cancel* cancel) { unref(__func__, cancel); }
