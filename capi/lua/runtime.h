// Which runtime a function of the module uses.
#pragma once

#include <string>

#include "capi/lua/arguments.h"

namespace okapi::lua {

/// Pushes the default runtime's box, making it if there is none yet.
void push_default_runtime(lua_State* L);

/// Pushes the box given as option `runtime`, or the default one, and returns its object.
okapi_runtime* push_runtime_option(lua_State* L, const Options& options);

/// "f32", "bf16", "f16" as OKAPI_DTYPE_*.
int32_t dtype_option(const std::string& word);

}  // namespace okapi::lua
