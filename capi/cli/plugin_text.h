// Plugins as text, for `okapi plugins` and `okapi rope`.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include <okapi/plugins.h>

namespace okapi::cli {

/// One line per declared parameter.
std::string parameters_text(const nlohmann::ordered_json& parameters, const std::string& indent);

/// Prints what a runtime has found; `kind` "": all. Returns the exit code.
int list_plugins(const okapi_runtime* runtime, const std::string& kind, bool is_json);

}  // namespace okapi::cli
