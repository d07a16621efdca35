// A caller's log sink as the engine's Logger.
#pragma once

#include <okapi/log.h>

#include <memory>

#include "capi/src/user_data.h"
#include "runtime/base/log.h"

namespace okapi::capi {

/// The level in force for an option: OKAPI_LOG_TRACE .. OKAPI_LOG_SILENT. Anything but those and
/// OKAPI_LOG_DEFAULT is invalid_argument.
int32_t effective_log_level(int32_t option);

const char* name_of_log_level(int32_t level);

/// @param level      effective
/// @param sink       NULL: to stderr
/// @param user_data  goes when the logger goes
std::shared_ptr<Logger> make_logger(int32_t level, okapi_log_sink sink,
                                    std::shared_ptr<UserData> user_data);

}  // namespace okapi::capi
