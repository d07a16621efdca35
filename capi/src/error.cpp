#include <okapi/error.h>

#include "capi/src/error_object.h"
#include "capi/src/guard.h"

namespace okapi::capi {

namespace {

/// The field is prefixed unless the message names it already, as messages that read well do.
std::string whole_message(const Error& error) {
  std::string text;
  if (!error.file().empty()) {
    text += error.file();
    if (error.offset() >= 0) text.append(":").append(std::to_string(error.offset()));
    text += ": ";
  }
  const std::string& field = error.field_name();
  if (!field.empty() && error.message().find(field) == std::string::npos) text += field + ": ";
  text += error.message();
  if (error.cause()) text += ", because " + whole_message(*error.cause());
  return text;
}

/// Owns what okapi_error points to, causes included.
struct OwnedError final : okapi_error {
  OwnedError(const Error& error, const char* function)
      : okapi_error{},
        message_text(whole_message(error)),
        component_text(error.component().empty() ? function : error.component()),
        field_text(error.field_name()),
        file_text(error.file()) {
    if (error.cause()) owned_cause = std::make_unique<OwnedError>(*error.cause(), function);
    n_refs = 1;
    // A thrown "ok" would be told as success while nothing was done.
    code = error.code() == Code::ok ? OKAPI_INTERNAL : static_cast<okapi_status>(error.code());
    message = message_text.c_str();
    component = component_text.c_str();
    field = field_text.c_str();
    file = file_text.c_str();
    offset = error.offset();
    cause = owned_cause.get();
  }

  std::string message_text;
  std::string component_text;
  std::string field_text;
  std::string file_text;
  std::unique_ptr<OwnedError> owned_cause;
};

constinit okapi_error g_out_of_memory{
    {0}, OKAPI_RESOURCE_EXHAUSTED, "memory ran out", "", "", "", -1, nullptr};

}  // namespace

okapi_error* out_of_memory_error() noexcept { return &g_out_of_memory; }

okapi_error* make_error(const Error& error, const char* function) noexcept {
  try {
    return new OwnedError(error, function);
  } catch (...) {
    return out_of_memory_error();
  }
}

void destroy_error(okapi_error* error) noexcept { delete static_cast<OwnedError*>(error); }

}  // namespace okapi::capi

using okapi::capi::guard_value;
using okapi::capi::guard_void;

const char* okapi_status_name(okapi_status status) {
  return guard_value(__func__, "UNKNOWN", [&] {
    switch (status) {
      case OKAPI_OK:
        return "OK";
      case OKAPI_CANCELLED:
        return "CANCELLED";
      case OKAPI_INVALID_ARGUMENT:
        return "INVALID_ARGUMENT";
      case OKAPI_DEADLINE_EXCEEDED:
        return "DEADLINE_EXCEEDED";
      case OKAPI_NOT_FOUND:
        return "NOT_FOUND";
      case OKAPI_ALREADY_EXISTS:
        return "ALREADY_EXISTS";
      case OKAPI_PERMISSION_DENIED:
        return "PERMISSION_DENIED";
      case OKAPI_RESOURCE_EXHAUSTED:
        return "RESOURCE_EXHAUSTED";
      case OKAPI_FAILED_PRECONDITION:
        return "FAILED_PRECONDITION";
      case OKAPI_ABORTED:
        return "ABORTED";
      case OKAPI_OUT_OF_RANGE:
        return "OUT_OF_RANGE";
      case OKAPI_UNIMPLEMENTED:
        return "UNIMPLEMENTED";
      case OKAPI_INTERNAL:
        return "INTERNAL";
      case OKAPI_UNAVAILABLE:
        return "UNAVAILABLE";
      case OKAPI_DATA_LOSS:
        return "DATA_LOSS";
      case OKAPI_UNAUTHENTICATED:
        return "UNAUTHENTICATED";
      default:
        return "UNKNOWN";
    }
  });
}

okapi_status okapi_error_code(const okapi_error* error) {
  return guard_value(__func__, okapi_status{OKAPI_OK},
                     [&] { return error != nullptr ? error->code : OKAPI_OK; });
}

const char* okapi_error_message(const okapi_error* error) {
  return guard_value(__func__, "", [&] { return error != nullptr ? error->message : ""; });
}

const char* okapi_error_component(const okapi_error* error) {
  return guard_value(__func__, "", [&] { return error != nullptr ? error->component : ""; });
}

const char* okapi_error_field(const okapi_error* error) {
  return guard_value(__func__, "", [&] { return error != nullptr ? error->field : ""; });
}

const char* okapi_error_file(const okapi_error* error) {
  return guard_value(__func__, "", [&] { return error != nullptr ? error->file : ""; });
}

int64_t okapi_error_offset(const okapi_error* error) {
  return guard_value(__func__, int64_t{-1},
                     [&] { return error != nullptr ? error->offset : int64_t{-1}; });
}

const okapi_error* okapi_error_cause(const okapi_error* error) {
  return guard_value(__func__, static_cast<const okapi_error*>(nullptr),
                     [&] { return error != nullptr ? error->cause : nullptr; });
}

okapi_error* okapi_error_ref(okapi_error* error) {
  return guard_value(__func__, static_cast<okapi_error*>(nullptr), [&] {
    if (error != nullptr && error->n_refs != 0)
      error->n_refs.fetch_add(1, std::memory_order_relaxed);
    return error;
  });
}

void okapi_error_unref(okapi_error* error) {
  guard_void(__func__, [&] {
    if (error == nullptr || error->n_refs == 0) return;
    if (error->n_refs.fetch_sub(1, std::memory_order_acq_rel) == 1)
      okapi::capi::destroy_error(error);
  });
}
