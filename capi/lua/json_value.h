// JSON and Lua values. Integers stay integers. An empty table is an object unless it came from, or
// was marked by, okapi.json.array; null is left out of objects and is okapi.json.null in arrays.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "capi/lua/state.h"

namespace okapi::lua {

using Json = nlohmann::ordered_json;

enum class Floats {
  keep,              ///< 4.0 stays 4.0
  integral_to_ints,  ///< 4.0 becomes 4: what parameters want, as Lua's `/` always gives a float
};

/// The Lua value at `index` as JSON. Throws naming what has no JSON form.
Json json_at(lua_State* L, int index, const std::string& name, Floats floats);

/// Its text. Throws if a string is not UTF-8.
std::string json_text(const Json& json, const std::string& name, int indent = -1);

/// Pushes a JSON value as a Lua value.
void push_json(lua_State* L, const Json& json);

/// The same for code that runs inside Lua: may raise, throws nothing.
void push_json_value(lua_State* L, const Json& json);

/// Pushes JSON that okapi itself wrote.
void push_json_text(lua_State* L, const std::string& text);

/// A JSON object of parameters: the table at `index`, or {} if it is absent.
Json parameters_at(lua_State* L, int index, const std::string& name);

}  // namespace okapi::lua
