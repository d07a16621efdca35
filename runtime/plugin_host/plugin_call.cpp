#include "runtime/plugin_host/plugin_call.h"

#include <new>

namespace okapi {

namespace {

constexpr int32_t kLastStatus = static_cast<int32_t>(Code::unauthenticated);

}  // namespace

ErrorSink::ErrorSink() {
  table_.struct_size = sizeof table_;
  table_.context = this;
  table_.report = [](const okapi_error_sink* sink, const char* field, const char* message) {
    auto* self = static_cast<ErrorSink*>(sink->context);
    const std::scoped_lock lock(self->mutex_);
    self->field_ = field == nullptr ? "" : field;
    self->message_ = message == nullptr ? "" : message;
  };
}

Error ErrorSink::error(int32_t status, const std::string& component) const {
  const std::scoped_lock lock(mutex_);
  const bool is_known = status > OKAPI_OK && status <= kLastStatus;
  std::string message = field_.empty() ? message_ : field_ + ": " + message_;
  if (!is_known)
    message = "returned " + std::to_string(status) + ", which is no status; " + message;
  if (message.empty()) message = "failed without saying why";
  return Error(is_known ? static_cast<Code>(status) : Code::internal, component + ": " + message)
      .in(component)
      .field(field_);
}

int32_t report_exception(const okapi_error_sink* sink) noexcept {
  const auto report = [sink](const char* field, const char* message) {
    if (sink != nullptr) sink->report(sink, field, message);
  };
  try {
    throw;
  } catch (const Error& error) {
    report(error.field_name().empty() ? nullptr : error.field_name().c_str(), error.what());
    return static_cast<int32_t>(error.code());
  } catch (const std::bad_alloc&) {
    report(nullptr, "out of memory");
    return OKAPI_RESOURCE_EXHAUSTED;
  } catch (const std::exception& error) {
    report(nullptr, error.what());
    return OKAPI_INTERNAL;
  } catch (...) {
    report(nullptr, "unknown exception");
    return OKAPI_INTERNAL;
  }
}

}  // namespace okapi
