// A caller's log sink as the engine's Logger.
#pragma once

#include <okapi/log.h>

#include <memory>

#include "capi/src/user_data.h"
#include "runtime/base/log.h"

namespace okapi::capi {

/// @param level      OKAPI_LOG_DEFAULT .. OKAPI_LOG_SILENT; anything else is invalid_argument
/// @param sink       NULL: to stderr
/// @param user_data  goes when the logger goes
std::shared_ptr<Logger> make_logger(int32_t level, okapi_log_sink sink,
                                    std::shared_ptr<UserData> user_data);

}  // namespace okapi::capi
