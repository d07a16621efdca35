// The object behind okapi_error: an immutable copy of what the engine threw.
#pragma once

#include <okapi/error.h>

#include <atomic>
#include <memory>
#include <string>

#include "runtime/base/error.h"

/// Plain pointers into storage that a derived class owns, so that the one for memory that has run
/// out can be a constant.
struct okapi_error {
  /// 0: static storage, never counted and never deleted.
  mutable std::atomic<int64_t> n_refs;
  okapi_status code;
  const char* message;
  const char* component;
  const char* field;
  const char* file;
  int64_t offset;
  const okapi_error* cause;
};

namespace okapi::capi {

/// An owned object for an error of the engine. `function` is its component if it names none.
/// When even that memory is missing, the constant one that says so.
okapi_error* make_error(const Error& error, const char* function) noexcept;

/// The constant one.
okapi_error* out_of_memory_error() noexcept;

}  // namespace okapi::capi
