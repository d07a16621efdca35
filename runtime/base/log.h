// Log records and where they go. One Logger per runtime; no process-wide sink.
//
//   auto logger = Logger::to_stderr(LogLevel::info);
//   logger->log(LogLevel::warn, "model", "ignored an unknown key", {{"key", "foo"}});
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace okapi {

/// Values are those of okapi_log_level in <okapi/log.h>.
enum class LogLevel : int32_t { trace = 0, debug = 1, info = 2, warn = 3, error = 4 };

const char* name_of(LogLevel level);

struct LogRecord {
  LogLevel level = LogLevel::info;
  std::string component;
  std::string message;
  uint64_t time_ns = 0;    ///< since the Unix epoch
  uint64_t thread_id = 0;  ///< the operating system's
  std::vector<std::pair<std::string, std::string>> fields;
};

/// Callable from any thread, and so must be the sink: calls may overlap.
class Logger {
 public:
  using Sink = std::function<void(const LogRecord&)>;

  Logger(Sink sink, LogLevel threshold);

  /// Builds the record and hands it to the sink; a sink that throws is ignored.
  void log(LogLevel level, std::string_view component, std::string message,
           std::vector<std::pair<std::string, std::string>> fields = {}) const;

  bool enabled(LogLevel level) const { return level >= threshold_; }

  /// One line per record on standard error, each written by a single call.
  static std::shared_ptr<Logger> to_stderr(LogLevel threshold = LogLevel::warn);

 private:
  Sink sink_;
  LogLevel threshold_;
};

}  // namespace okapi
