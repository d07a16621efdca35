// The edge between C and C++. Every entry point runs its body in a guard, so nothing is ever thrown
// across, and checks its arguments with the functions below.
//
//   okapi_status okapi_model_open(...) {
//     return guard(__func__, error, [&] {
//       require_path(path, "path");
//       ...
//     });
//   }
#pragma once

#include <okapi/error.h>

#include "capi/src/fault.h"
#include "runtime/base/error.h"

namespace okapi::capi {

/// To be called in a catch block: the status of what was caught and, if `error` is not NULL, an
/// owned object that says why. Errors without a component are given the function's name as theirs.
okapi_status report_caught(const char* function, okapi_error** error) noexcept;

/// What was caught, as the engine's error. May throw std::bad_alloc.
Error error_of_caught();

/// Runs the body of a function that returns a status.
template <typename Body>
okapi_status guard(const char* function, okapi_error** error, Body&& body) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    fault_point(function);
    body();
    return OKAPI_OK;
  } catch (...) {
    return report_caught(function, error);
  }
}

/// Runs the body of a function that returns a plain value, or `neutral` if it cannot be told.
template <typename Value, typename Body>
Value guard_value(const char* function, Value neutral, Body&& body) noexcept {
  try {
    fault_point(function);
    return body();
  } catch (...) {
    return neutral;
  }
}

/// Runs the body of a function that returns nothing.
template <typename Body>
void guard_void(const char* function, Body&& body) noexcept {
  try {
    fault_point(function);
    body();
  } catch (...) {
    // Nothing can be reported here, and nothing that such a function does fails but by an injected
    // fault.
  }
}

/// Throws invalid_argument with `name` as its field.
[[noreturn]] void refuse(const char* name, const char* problem);

/// Throws invalid_argument naming an argument that is NULL.
template <typename T>
T* require(T* argument, const char* name) {
  if (argument == nullptr) refuse(name, "must not be NULL");
  return argument;
}

/// As require(), for a file or folder: none has an empty name, and to some libraries it means
/// another thing, as a database that is gone when it is closed.
inline const char* require_path(const char* path, const char* name) {
  if (*require(path, name) == '\0') refuse(name, "must not be empty");
  return path;
}

/// As require(), for the out-parameter of a new object, which is NULL until there is one.
template <typename T>
void require_out(T** out, const char* name) {
  *require(out, name) = nullptr;
}

/// Checks an array argument: a pointer, unless it has no elements.
template <typename T>
void require_array(const T* pointer, uint64_t count, const char* name) {
  if (count > 0 && pointer == nullptr) refuse(name, "must not be NULL while its count is above 0");
  if (count > PTRDIFF_MAX / sizeof(T)) refuse(name, "is larger than memory can be");
}

}  // namespace okapi::capi
