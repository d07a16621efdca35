#include "capi/src/guard.h"

#include <cerrno>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>

#include "capi/src/error_object.h"

namespace okapi::capi {

namespace {

Code code_of(const std::error_code& reason) {
  if (reason == std::errc::no_such_file_or_directory) return Code::not_found;
  if (reason == std::errc::file_exists) return Code::already_exists;
  if (reason == std::errc::permission_denied || reason == std::errc::operation_not_permitted ||
      reason == std::errc::read_only_file_system) {
    return Code::permission_denied;
  }
  if (reason == std::errc::no_space_on_device || reason == std::errc::not_enough_memory ||
      reason == std::errc::too_many_files_open ||
      reason == std::errc::resource_unavailable_try_again) {
    return Code::resource_exhausted;
  }
  if (reason == std::errc::filename_too_long || reason == std::errc::not_a_directory ||
      reason == std::errc::is_a_directory) {
    return Code::invalid_argument;
  }
  return Code::internal;
}

}  // namespace

// The order matters: from the exception that knows most to the one that says nothing. Memory that
// ran out comes first because everything after it needs some.
Error error_of_caught() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(Code::resource_exhausted, "memory ran out");
  } catch (const std::length_error& error) {
    return Error(Code::resource_exhausted, error.what());
  } catch (const std::system_error& error) {
    return Error(code_of(error.code()), error.what());
  } catch (const std::exception& error) {
    return Error(Code::internal, error.what());
  } catch (...) {
    return Error(Code::internal, "something was thrown that is no std::exception");
  }
}

okapi_status report_caught(const char* function, okapi_error** error) noexcept {
  try {
    const Error caught = error_of_caught();
    okapi_error* object = make_error(caught, function);
    const okapi_status status = object->code;
    if (error != nullptr) {
      *error = object;
    } else {
      okapi_error_unref(object);
    }
    return status;
  } catch (...) {
    if (error != nullptr) *error = out_of_memory_error();
    return OKAPI_RESOURCE_EXHAUSTED;
  }
}

void refuse(const char* name, const char* problem) {
  throw Error(Code::invalid_argument, std::string(name) + " " + problem).field(name);
}

}  // namespace okapi::capi
