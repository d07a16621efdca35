// Token ids for Lua.
#pragma once

#include <vector>

#include "capi/lua/state.h"

namespace okapi::lua {

/// Pushes a table of ids.
void push_ids(lua_State* L, const std::vector<int32_t>& ids);

}  // namespace okapi::lua
