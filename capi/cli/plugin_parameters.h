// Parameters of plugins as they are given on the command line: --param key=value.
#pragma once

#include <string>
#include <vector>

#include "capi/cli/command.h"

namespace okapi::cli {

/// Adds `given` ("key=value" each) to `parameters`, with the types that the plugin declares;
/// numbers of a list are separated by ";" as in a rope spec. Throws UsageError on a key that the
/// plugin does not declare, that is given twice, or whose value is of another type.
void add_plugin_parameters(Json& parameters, const std::vector<std::string>& given,
                           const okapi_runtime* runtime, const std::string& kind,
                           const std::string& plugin);

}  // namespace okapi::cli
