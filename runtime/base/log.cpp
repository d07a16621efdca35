#include "runtime/base/log.h"

#include <unistd.h>

#include <chrono>

namespace okapi {

namespace {

void write_line(const LogRecord& record) {
  std::string line = "okapi: ";
  line += name_of(record.level);
  line += ": " + record.component + ": " + record.message;
  for (const auto& [key, value] : record.fields) line += " " + key + "=" + value;
  line += '\n';

  // One write, so that lines of several threads do not mix. A log that cannot be written has nobody
  // to tell, hence the result is dropped.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

const char* name_of(LogLevel level) {
  switch (level) {
    case LogLevel::trace:
      return "trace";
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warn:
      return "warning";
    case LogLevel::error:
      return "error";
  }
  return "unknown";
}

Logger::Logger(Sink sink, LogLevel threshold) : sink_(std::move(sink)), threshold_(threshold) {}

void Logger::log(LogLevel level, std::string_view component, std::string message,
                 std::vector<std::pair<std::string, std::string>> fields) const {
  if (!enabled(level) || !sink_) return;

  LogRecord record;
  record.level = level;
  record.component = component;
  record.message = std::move(message);
  record.time_ns = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                             std::chrono::system_clock::now().time_since_epoch())
                                             .count());
  record.thread_id = static_cast<uint64_t>(::gettid());
  record.fields = std::move(fields);

  try {
    sink_(record);
  } catch (...) {
    // Callbacks never throw into the engine (style.md, section 6): a broken sink loses its record.
  }
}

std::shared_ptr<Logger> Logger::to_stderr(LogLevel threshold) {
  return std::make_shared<Logger>(write_line, threshold);
}

}  // namespace okapi
