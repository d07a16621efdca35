// The random stream that a scheme's positions() is given: "okapi.random" in Lua.
#pragma once

#include <lua.hpp>

#include <okapi/plugin/host.h>

namespace okapi::lua {

/// Pushes a copy of the stream, from which Lua draws. Raises.
void push_random(lua_State* L, const okapi_random& random);

/// Makes its type. Raises; called when the module opens.
void open_scheme_random(lua_State* L);

}  // namespace okapi::lua
