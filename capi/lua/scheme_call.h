// A position scheme whose functions are Lua functions: okapi_rope_scheme_v1 over pcall.
#pragma once

#include <memory>
#include <string>

#include <okapi/rope.h>

#include "capi/lua/json_value.h"
#include "capi/lua/state.h"

namespace okapi::lua {

/// A definition; its Lua side is a table {table=, positions=, log_magnitude=} under `function_id`.
struct LuaScheme {
  std::weak_ptr<State> state;
  int64_t function_id = 0;
  std::string name;
  bool depends_on_length = false;
};

/// The vtable; its functions expect a LuaScheme as state. `create` makes one instance per set of
/// parameters, which refers to the scheme.
okapi_rope_scheme_v1 lua_scheme_functions(uint32_t flags, bool has_table, bool has_positions,
                                          bool has_log_magnitude);

/// Frees a LuaScheme.
void destroy_lua_scheme(void* scheme);

/// Makes the types that the functions are given. Raises; called when the module opens.
void open_scheme_call(lua_State* L);

}  // namespace okapi::lua
