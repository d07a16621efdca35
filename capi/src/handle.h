// What every opaque object begins with: its reference count.
//
//   struct okapi_model : okapi::capi::Handle { std::shared_ptr<okapi::Model> model; };
//
// The count keeps the handle, the shared_ptr keeps the engine's object, and the engine's children
// keep their parents: hence any order of unref is legal.
#pragma once

#include <atomic>
#include <cstdint>

#include "capi/src/guard.h"

namespace okapi::capi {

struct Handle {
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  mutable std::atomic<int64_t> n_refs{1};
};

/// The body of every okapi_x_ref: its argument with one more reference, or NULL for NULL.
template <typename T>
T* ref(const char* function, T* handle) noexcept {
  return guard_value(function, static_cast<T*>(nullptr), [&] {
    if (handle != nullptr) handle->n_refs.fetch_add(1, std::memory_order_relaxed);
    return handle;
  });
}

/// The body of every okapi_x_unref. The last release sees all that other threads did to the object.
template <typename T>
void unref(const char* function, T* handle) noexcept {
  guard_void(function, [&] {
    if (handle != nullptr && handle->n_refs.fetch_sub(1, std::memory_order_acq_rel) == 1)
      delete handle;
  });
}

}  // namespace okapi::capi
