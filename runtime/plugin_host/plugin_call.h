// Calls into a plugin: its status and report become an Error, and no exception of its comes
// through.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include <okapi/plugin/plugin.h>

#include "runtime/base/error.h"

namespace okapi {

/// The error sink of one call.
class ErrorSink {
 public:
  ErrorSink();
  ErrorSink(const ErrorSink&) = delete;
  ErrorSink& operator=(const ErrorSink&) = delete;

  const okapi_error_sink* table() const { return &table_; }

  /// What the plugin reported, as an error with `status` as its code.
  Error error(int32_t status, const std::string& component) const;

 private:
  okapi_error_sink table_{};
  mutable std::mutex mutex_;
  std::string field_;
  std::string message_;
};

/// Reports an exception to a sink and gives the status for it: for what plugins call in the host.
int32_t report_exception(const okapi_error_sink* sink) noexcept;

/// Runs `call(sink)` and throws what it reports. `component` is the plugin, "rope.yarn".
template <typename Call>
void call_plugin(const std::string& component, Call&& call) {
  ErrorSink sink;
  int32_t status = OKAPI_OK;
  try {
    status = call(sink.table());
  } catch (...) {
    // A plugin in C++ that breaks the rule: what it threw may be of a type from its own library.
    throw Error(Code::internal, "an exception left the plugin").in(component);
  }
  if (status != OKAPI_OK) throw sink.error(status, component);
}

}  // namespace okapi
