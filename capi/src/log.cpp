#include "capi/src/log.h"

#include <vector>

#include "capi/src/options.h"

namespace okapi::capi {

namespace {

/// The public levels keep 0 for "default" and so are one more than the engine's.
constexpr int32_t kLevelOffset = OKAPI_LOG_TRACE - static_cast<int32_t>(LogLevel::trace);
static_assert(static_cast<int32_t>(LogLevel::error) + kLevelOffset == OKAPI_LOG_ERROR);

void pass_on(const LogRecord& record, okapi_log_sink sink, void* user_data) {
  std::vector<okapi_log_field> fields;
  fields.reserve(record.fields.size());
  for (const auto& [key, value] : record.fields) fields.push_back({key.c_str(), value.c_str()});

  okapi_log_record out{};
  out.struct_size = OKAPI_STRUCT_SIZE(okapi_log_record, n_fields);
  out.level = static_cast<int32_t>(record.level) + kLevelOffset;
  out.component = record.component.c_str();
  out.message = record.message.c_str();
  out.time_ns = record.time_ns;
  out.thread_id = record.thread_id;
  out.fields = fields.data();
  out.n_fields = fields.size();
  sink(&out, user_data);
}

}  // namespace

int32_t effective_log_level(int32_t option) {
  check_range(option, OKAPI_LOG_DEFAULT, OKAPI_LOG_SILENT, "options.log_level");
  return option == OKAPI_LOG_DEFAULT ? OKAPI_LOG_WARN : option;
}

const char* name_of_log_level(int32_t level) {
  switch (level) {
    case OKAPI_LOG_TRACE:
      return "trace";
    case OKAPI_LOG_DEBUG:
      return "debug";
    case OKAPI_LOG_INFO:
      return "info";
    case OKAPI_LOG_WARN:
      return "warn";
    case OKAPI_LOG_ERROR:
      return "error";
    default:
      return "silent";
  }
}

std::shared_ptr<Logger> make_logger(int32_t level, okapi_log_sink sink,
                                    std::shared_ptr<UserData> user_data) {
  // SILENT is one above the highest level there is, so that no record reaches it.
  const auto threshold = static_cast<LogLevel>(level - kLevelOffset);
  if (sink == nullptr) return Logger::to_stderr(threshold);
  return std::make_shared<Logger>(
      [sink, user_data = std::move(user_data)](const LogRecord& record) {
        pass_on(record, sink, user_data->get());
      },
      threshold);
}

}  // namespace okapi::capi
