#include "capi/lua/json_value.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "capi/lua/arguments.h"
#include "capi/lua/array.h"
#include "capi/lua/bindings.h"

namespace okapi::lua {

using api::invalid;

static const char kArrayMarkKey = 0;  // metatable of tables that are JSON arrays even when empty
constexpr int kMaxDepth = 64;

static bool is_marked_array(lua_State* L, int index) {
  if (!lua_getmetatable(L, index)) return false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kArrayMarkKey);
  const bool is_marked = lua_rawequal(L, -1, -2) != 0;
  lua_pop(L, 2);
  return is_marked;
}

static Json number_json(lua_State* L, int index, const std::string& name, Floats floats) {
  if (lua_isinteger(L, index)) return static_cast<int64_t>(lua_tointeger(L, index));
  const double value = lua_tonumber(L, index);
  if (!std::isfinite(value)) throw invalid(name + ": JSON has no " + found_at(L, index), name);
  constexpr double kExact = 9007199254740992.0;  // 2^53: beyond, a float is not meant as an integer
  if (floats == Floats::integral_to_ints && value == std::floor(value) &&
      std::fabs(value) < kExact) {
    return static_cast<int64_t>(value);
  }
  return value;
}

static Json value_json(lua_State* L, int index, const std::string& name, Floats floats, int depth);

static Json table_json(lua_State* L, int index, const std::string& name, Floats floats, int depth) {
  if (depth > kMaxDepth)
    throw invalid(name + ": tables are nested too deeply (or in a circle)", name);
  need_stack(L, 8);
  index = lua_absindex(L, index);
  const auto n = static_cast<int64_t>(lua_rawlen(L, index));
  if (n > 0 || is_marked_array(L, index)) {
    Json array = Json::array();
    for (int64_t i = 1; i <= n; ++i) {
      lua_rawgeti(L, index, i);
      array.push_back(value_json(L, -1, name + "[" + std::to_string(i) + "]", floats, depth + 1));
      lua_pop(L, 1);
    }
    int64_t n_keys = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) ++n_keys;
    if (n_keys != n) throw invalid(name + ": a table cannot be both list and object", name);
    return array;
  }

  std::vector<std::pair<std::string, Json>> members;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      throw invalid(name + ": keys must be strings, found " + found_at(L, -2), name);
    }
    const std::string key = text_at(L, -2, name);
    members.emplace_back(key, value_json(L, -1, name + "." + key, floats, depth + 1));
  }
  std::sort(members.begin(), members.end(),  // Lua's own order changes from run to run
            [](const auto& a, const auto& b) { return a.first < b.first; });
  Json object = Json::object();
  for (auto& [key, value] : members) object[key] = std::move(value);
  return object;
}

static Json value_json(lua_State* L, int index, const std::string& name, Floats floats, int depth) {
  switch (lua_type(L, index)) {
    case LUA_TNONE:
    case LUA_TNIL:
      return nullptr;
    case LUA_TBOOLEAN:
      return lua_toboolean(L, index) != 0;
    case LUA_TNUMBER:
      return number_json(L, index, name, floats);
    case LUA_TSTRING:
      return text_at(L, index, name);
    case LUA_TTABLE:
      return table_json(L, index, name, floats, depth);
    case LUA_TLIGHTUSERDATA:
      if (lua_touserdata(L, index) == nullptr) return nullptr;
      break;
    case LUA_TUSERDATA:
      if (find_array(L, index) != nullptr) return numbers_at(L, index, name);
      break;
    default:
      break;
  }
  throw invalid(
      name + ": wanted a string, a number, true, false or a table, found " + found_at(L, index),
      name);
}

Json json_at(lua_State* L, int index, const std::string& name, Floats floats) {
  return value_json(L, index, name, floats, 0);
}

std::string json_text(const Json& json, const std::string& name, int indent) {
  try {
    return json.dump(indent);
  } catch (const Json::exception& error) {
    throw invalid(name + ": " + error.what(), name);
  }
}

void push_json_value(lua_State* L, const Json& json) {
  luaL_checkstack(L, 4, "JSON is nested too deeply");
  switch (json.type()) {
    case Json::value_t::object:
      lua_createtable(L, 0, static_cast<int>(json.size()));
      for (auto member = json.begin(); member != json.end(); ++member) {
        if (member->is_null()) continue;
        lua_pushlstring(L, member.key().data(), member.key().size());
        push_json_value(L, *member);
        lua_rawset(L, -3);
      }
      break;
    case Json::value_t::array: {
      lua_createtable(L, static_cast<int>(json.size()), 0);
      lua_Integer i = 0;
      for (const Json& element : json) {
        push_json_value(L, element);
        lua_rawseti(L, -2, ++i);
      }
      lua_rawgetp(L, LUA_REGISTRYINDEX, &kArrayMarkKey);
      lua_setmetatable(L, -2);
      break;
    }
    case Json::value_t::string: {
      const auto* text = json.get_ptr<const std::string*>();
      lua_pushlstring(L, text->data(), text->size());
      break;
    }
    case Json::value_t::boolean:
      lua_pushboolean(L, *json.get_ptr<const bool*>());
      break;
    case Json::value_t::number_integer:
      lua_pushinteger(L, *json.get_ptr<const int64_t*>());
      break;
    case Json::value_t::number_unsigned: {
      const uint64_t value = *json.get_ptr<const uint64_t*>();
      if (value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        lua_pushinteger(L, static_cast<lua_Integer>(value));
      } else {
        lua_pushnumber(L, static_cast<double>(value));
      }
      break;
    }
    case Json::value_t::number_float:
      lua_pushnumber(L, *json.get_ptr<const double*>());
      break;
    default:
      lua_pushlightuserdata(L, nullptr);
      break;
  }
}

void push_json(lua_State* L, const Json& json) {
  protect(L, 0, 1, [&json](lua_State* inner) {
    push_json_value(inner, json);
    return 1;
  });
}

void push_json_text(lua_State* L, const std::string& text) { push_json(L, Json::parse(text)); }

Json parameters_at(lua_State* L, int index, const std::string& name) {
  if (lua_isnoneornil(L, index)) return Json::object();
  if (lua_type(L, index) != LUA_TTABLE) {
    throw invalid(name + ": wanted a table, found " + found_at(L, index), name);
  }
  Json parameters = json_at(L, index, name, Floats::integral_to_ints);
  if (!parameters.is_object())
    throw invalid(name + ": wanted names and values, found a list", name);
  return parameters;
}

// okapi.json.encode(value [, indent])
static int json_encode(lua_State* L) {
  const int64_t indent = lua_isnoneornil(L, 2) ? -1 : integer_at(L, 2, "indent");
  push_text(L, json_text(json_at(L, 1, "value", Floats::keep), "value", static_cast<int>(indent)));
  return 1;
}

static int json_decode(lua_State* L) {
  const std::string text = text_at(L, 1, "text");
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::exception& error) {
    throw invalid(error.what(), "text");
  }
  push_json(L, json);
  return 1;
}

// okapi.json.array(table): marks it, so that it is a list even when empty.
static int json_array(lua_State* L) {
  if (lua_type(L, 1) != LUA_TTABLE)
    throw invalid("json.array: wanted a table, found " + found_at(L, 1));
  lua_settop(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kArrayMarkKey);
  lua_setmetatable(L, 1);
  return 1;
}

void open_json(lua_State* L) {
  const luaL_Reg functions[] = {{"array", pure_entry<json_array>},
                                {"decode", pure_entry<json_decode>},
                                {"encode", pure_entry<json_encode>},
                                {nullptr, nullptr}};
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "okapi.json.array");
  lua_setfield(L, -2, "__name");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kArrayMarkKey);

  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  lua_pushlightuserdata(L, nullptr);
  lua_setfield(L, -2, "null");
  lua_setfield(L, -2, "json");
}

}  // namespace okapi::lua
