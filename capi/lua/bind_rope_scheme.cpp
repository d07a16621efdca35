// okapi.rope.define(name, parameters, function or definition [, options]): a scheme written in Lua.
//
//   okapi.rope.define("stretch", { scale = 2.0 }, function(geometry)
//     local inv_freq = {}
//     for pair, freq in ipairs(geometry.inv_freq) do inv_freq[pair] = freq / geometry.params.scale
//     end return { inv_freq = inv_freq }
//   end)
#include "capi/lua/arguments.h"
#include "capi/lua/bindings.h"
#include "capi/lua/json_value.h"
#include "capi/lua/runtime.h"
#include "capi/lua/scheme_call.h"

namespace okapi::lua {

using api::invalid;

static const char* inferred_type(const Json& value, const std::string& name) {
  if (value.is_number()) return "number";
  if (value.is_boolean()) return "boolean";
  if (value.is_string()) return "string";
  if (value.is_array()) return "list";
  throw invalid("parameter '" + name + "': give its type", name);
}

// Fills in what a declaration leaves out: its type, from the default; an empty help.
static Json declaration(const std::string& name, const Json& given) {
  Json declared = given.is_object() ? given : Json{{"default", given}};
  declared["name"] = name;
  if (!declared.contains("type")) {
    if (declared.contains("choices")) {
      declared["type"] = "enum";
    } else if (declared.contains("default")) {
      declared["type"] = inferred_type(declared["default"], name);
    } else {
      declared["type"] = "number";
    }
  }
  if (!declared.contains("help")) declared["help"] = "";
  return declared;
}

// {scale = 2.0, mode = {choices = ...}} or a list of {name = "scale", ...}, as a plugin declares
// them.
static Json declarations_at(lua_State* L, int index) {
  Json declared = Json::array();
  if (lua_isnoneornil(L, index)) return declared;
  if (lua_type(L, index) != LUA_TTABLE) {
    throw invalid("parameters: wanted a table, found " + found_at(L, index), "parameters");
  }
  const Json given = json_at(L, index, "parameters", Floats::keep);
  if (given.is_object()) {
    for (const auto& member : given.items())
      declared.push_back(declaration(member.key(), member.value()));
    return declared;
  }
  for (const Json& entry : given) {
    if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string()) {
      throw invalid("parameters: an entry of a list needs a name", "parameters");
    }
    declared.push_back(declaration(entry["name"].get<std::string>(), entry));
  }
  return declared;
}

static bool takes_length_from_session(const Json& declared) {
  for (const Json& parameter : declared) {
    const auto fact = parameter.find("from_model");
    if (fact != parameter.end() && (*fact == "target_length" || *fact == "length_ratio"))
      return true;
  }
  return false;
}

static uint32_t position_flags(const Options& given) {
  const std::string phase = given.text("positions_in").value_or("both");
  return static_cast<uint32_t>(
      choice(phase, "positions_in",
             {{"training", OKAPI_ROPE_POSITIONS_IN_TRAINING},
              {"evaluation", OKAPI_ROPE_POSITIONS_IN_EVALUATION},
              {"both", OKAPI_ROPE_POSITIONS_IN_TRAINING | OKAPI_ROPE_POSITIONS_IN_EVALUATION}}));
}

static int rope_define(lua_State* L) {
  const std::string name = text_at(L, 1, "name");
  const Json declared = declarations_at(L, 2);
  const bool is_function = lua_type(L, 3) == LUA_TFUNCTION;
  if (!is_function && lua_type(L, 3) != LUA_TTABLE) {
    throw invalid("rope.define: wanted a function or a table of functions, found " +
                  found_at(L, 3));
  }
  std::vector<std::string> known = {"depends_on_length", "starts_from_base", "plain_at_scale_1",
                                    "positions_in", "runtime"};
  if (!is_function) known.insert(known.begin(), {"table", "positions", "log_magnitude"});
  const Options given(L, is_function ? 4 : 3, "rope.define", known);

  const int table = is_function ? 3 : given.function("table");
  const int positions = is_function ? 0 : given.function("positions");
  const int log_magnitude = is_function ? 0 : given.function("log_magnitude");
  if (table == 0 && positions == 0 && log_magnitude == 0) {
    throw invalid("rope.define: wanted at least one of table, positions, log_magnitude");
  }
  auto scheme = std::make_unique<LuaScheme>();
  scheme->state = state_of(L);
  scheme->name = name;
  scheme->depends_on_length =
      given.boolean("depends_on_length", false) || takes_length_from_session(declared);

  uint32_t flags = 0;
  if (scheme->depends_on_length) flags |= OKAPI_ROPE_DEPENDS_ON_LENGTH;
  if (given.boolean("starts_from_base", false)) flags |= OKAPI_ROPE_STARTS_FROM_BASE;
  if (given.boolean("plain_at_scale_1", false)) flags |= OKAPI_ROPE_PLAIN_AT_SCALE_1;
  if (positions != 0) flags |= position_flags(given);
  const okapi_rope_scheme_v1 functions =
      lua_scheme_functions(flags, table != 0, positions != 0, log_magnitude != 0);

  okapi_runtime* runtime = push_runtime_option(L, given);
  const int runtime_index = lua_gettop(L);
  need_stack(L, 4);
  for (const int slot : {table, positions, log_magnitude}) {
    if (slot == 0) {
      lua_pushnil(L);
    } else {
      lua_pushvalue(L, slot);
    }
  }
  protect(L, 3, 1, [](lua_State* inner) {
    lua_createtable(inner, 0, 3);
    lua_insert(inner, 1);
    lua_setfield(inner, 1, "log_magnitude");
    lua_setfield(inner, 1, "positions");
    lua_setfield(inner, 1, "table");
    return 1;
  });
  scheme->function_id = keep_function(L, runtime_index);
  api::call(okapi_runtime_register_rope, runtime, name.c_str(),
            json_text(declared, "parameters").c_str(), &functions, scheme.get(),
            destroy_lua_scheme);
  static_cast<void>(scheme.release());  // the runtime's from here on
  return 0;
}

void open_rope_scheme(lua_State* L) {
  open_scheme_call(L);
  lua_getfield(L, -1, "rope");
  lua_pushcfunction(L, entry<rope_define>);
  lua_setfield(L, -2, "define");
  lua_pop(L, 1);
}

}  // namespace okapi::lua
