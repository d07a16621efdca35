#include "capi/lua/scheme_call.h"

#include <cstring>
#include <exception>
#include <thread>
#include <utility>

#include "capi/lua/array.h"
#include "capi/lua/scheme_random.h"

namespace okapi::lua {

/// Of the metatable of geometry tables, in which a field that is not there is an error.
static const char kGeometryKey = 0;

/// One set of parameters.
struct SchemeInstance {
  const LuaScheme* scheme;
  Json parameters;
};

/// What a C function below gets as light userdata: the arguments of the scheme's function it runs.
struct SchemeCall {
  const SchemeInstance* instance;
  const okapi_rope_geometry* geometry;

  okapi_rope_table_v1* table;  ///< of table(): out

  int64_t n;                   ///< positions, of the other two
  const okapi_random* random;  ///< of positions()
  double* drawn;               ///< of positions(): out [n]

  const double* positions;  ///< of log_magnitude(): [n]
  double* log_q;            ///< of log_magnitude(): out [n, n_pairs]
  double* log_k;            ///< likewise
};

// ---- what runs inside Lua: may raise, owns nothing

static int pairs_of(const okapi_rope_geometry& geometry) { return geometry.rotary_dim / 2; }

static int missing_field(lua_State* L) {
  const char* key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  if (std::strcmp(key, "target_length") == 0) {
    return luaL_error(L,
                      "this scheme does not say that it depends on the length: define it with "
                      "depends_on_length = true to use geometry.target_length");
  }
  return luaL_error(L, "geometry has no field '%s'", key);
}

static void set_number(lua_State* L, const char* key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}

static void set_integer(lua_State* L, const char* key, int64_t value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, key);
}

static void push_geometry(lua_State* L, const SchemeCall& call) {
  const okapi_rope_geometry& geometry = *call.geometry;
  lua_createtable(L, 0, 16);
  lua_pushstring(L, geometry.phase == OKAPI_PHASE_TRAIN ? "train" : "evaluate");
  lua_setfield(L, -2, "phase");
  set_integer(L, "head_dim", geometry.head_dim);
  set_integer(L, "rotary_dim", geometry.rotary_dim);
  set_integer(L, "n_pairs", pairs_of(geometry));
  set_integer(L, "layer", geometry.layer);
  set_integer(L, "n_layers", geometry.n_layers);
  set_number(L, "base", geometry.base);
  set_integer(L, "trained_length", geometry.trained_length);
  if (call.instance->scheme->depends_on_length) {
    set_integer(L, "target_length", geometry.target_length);
  }
  set_integer(L, "seed", static_cast<int64_t>(geometry.seed));
  set_number(L, "rotation_gain", geometry.rotation_gain);
  set_number(L, "attention_temperature", geometry.attention_temperature);

  lua_createtable(L, pairs_of(geometry), 0);
  for (int pair = 0; pair < pairs_of(geometry); ++pair) {
    lua_pushnumber(L, geometry.inv_freq[pair]);
    lua_rawseti(L, -2, pair + 1);
  }
  lua_setfield(L, -2, "inv_freq");
  push_json_value(L, call.instance->parameters);
  lua_setfield(L, -2, "params");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kGeometryKey);
  lua_setmetatable(L, -2);
}

// Reads exactly n numbers from a table or an array.
static void read_numbers(lua_State* L, int index, const char* what, int64_t n, double* out) {
  luaL_checkstack(L, 8, nullptr);
  index = lua_absindex(L, index);
  const Array* array = find_array(L, index);
  if (array == nullptr && !lua_istable(L, index)) {
    luaL_error(L, "%s: wanted a table or an array of numbers, found %s", what,
               luaL_typename(L, index));
  }
  const auto size = array != nullptr ? array->size : static_cast<int64_t>(lua_rawlen(L, index));
  if (size != n) {
    luaL_error(L, "%s: wanted %I numbers, found %I", what, static_cast<LUAI_UACINT>(n),
               static_cast<LUAI_UACINT>(size));
  }
  for (int64_t i = 0; i < n; ++i) {
    if (array != nullptr) {
      out[i] = array->get(i);
      continue;
    }
    if (lua_rawgeti(L, index, i + 1) != LUA_TNUMBER) {
      luaL_error(L, "%s[%I]: wanted a number, found %s", what, static_cast<LUAI_UACINT>(i) + 1,
                 luaL_typename(L, -1));
    }
    out[i] = lua_tonumber(L, -1);
    lua_pop(L, 1);
  }
}

static double number_field(lua_State* L, int index, const char* key, double absent) {
  const int type = lua_getfield(L, index, key);
  if (type != LUA_TNIL && type != LUA_TNUMBER) {
    luaL_error(L, "%s: wanted a number, found %s", key, luaL_typename(L, -1));
  }
  const double value = type == LUA_TNIL ? absent : lua_tonumber(L, -1);
  lua_pop(L, 1);
  return value;
}

// (definition, SchemeCall*)
static int run_table(lua_State* L) {
  const auto& call = *static_cast<const SchemeCall*>(lua_touserdata(L, 2));
  lua_getfield(L, 1, "table");
  push_geometry(L, call);
  lua_call(L, 1, 1);
  if (!lua_istable(L, -1)) {
    return luaL_error(L, "wanted a table with inv_freq, found %s", luaL_typename(L, -1));
  }
  const int answer = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, answer); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      return luaL_error(L, "wanted a table with inv_freq, found a list: { inv_freq = list }");
    }
    const char* key = lua_tostring(L, -2);
    if (std::strcmp(key, "inv_freq") != 0 && std::strcmp(key, "rotation_gain") != 0 &&
        std::strcmp(key, "attention_temperature") != 0) {
      return luaL_error(
          L, "unknown field '%s'; known are inv_freq, rotation_gain, attention_temperature", key);
    }
  }
  if (lua_getfield(L, answer, "inv_freq") != LUA_TNIL) {
    read_numbers(L, -1, "inv_freq", call.table->n_pairs, call.table->inv_freq);
  }
  call.table->n_written = call.table->n_pairs;
  call.table->rotation_gain = number_field(L, answer, "rotation_gain", 1.0);
  call.table->attention_temperature = number_field(L, answer, "attention_temperature", 1.0);
  return 0;
}

// (definition, SchemeCall*)
static int run_positions(lua_State* L) {
  const auto& call = *static_cast<const SchemeCall*>(lua_touserdata(L, 2));
  lua_getfield(L, 1, "positions");
  push_geometry(L, call);
  lua_pushinteger(L, call.n);
  push_random(L, *call.random);
  lua_call(L, 3, 1);
  read_numbers(L, -1, "positions", call.n, call.drawn);
  return 0;
}

// (definition, SchemeCall*)
static int run_log_magnitude(lua_State* L) {
  const auto& call = *static_cast<const SchemeCall*>(lua_touserdata(L, 2));
  lua_getfield(L, 1, "log_magnitude");
  push_geometry(L, call);
  lua_createtable(L, static_cast<int>(call.n), 0);
  for (int64_t i = 0; i < call.n; ++i) {
    lua_pushnumber(L, call.positions[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_call(L, 2, 2);
  const int64_t n_values = call.n * pairs_of(*call.geometry);
  read_numbers(L, -2, "log_magnitude of q", n_values, call.log_q);
  read_numbers(L, -1, "log_magnitude of k", n_values, call.log_k);
  return 0;
}

static int value_to_text(lua_State* L) {
  luaL_tolstring(L, 1, nullptr);
  return 1;
}

// ---- what okapi calls

static int32_t fail(const okapi_error_sink* sink, const char* message, int32_t status) {
  sink->report(sink, nullptr, message);
  return status;
}

// Runs `function` with (definition, call) in the Lua state of the binding that is running.
static int32_t call_lua(const SchemeCall& call, lua_CFunction function,
                        const okapi_error_sink* sink) noexcept {
  const LuaScheme& scheme = *call.instance->scheme;
  const std::shared_ptr<State> state = scheme.state.lock();
  if (state == nullptr) return fail(sink, "its Lua state is gone", OKAPI_FAILED_PRECONDITION);
  if (state->current == nullptr || state->thread != std::this_thread::get_id()) {
    return fail(sink, "a scheme written in Lua can be called only on the thread that runs Lua",
                OKAPI_FAILED_PRECONDITION);
  }
  lua_State* L = state->current;
  if (!lua_checkstack(L, 8)) return fail(sink, "the Lua stack is full", OKAPI_RESOURCE_EXHAUSTED);

  const int top = lua_gettop(L);
  lua_pushcfunction(L, function);
  if (!push_function(L, scheme.function_id)) {
    lua_settop(L, top);
    return fail(sink, "its Lua functions are gone: their runtime has been collected",
                OKAPI_FAILED_PRECONDITION);
  }
  lua_pushlightuserdata(L, const_cast<SchemeCall*>(&call));
  const char* outer = std::exchange(state->callback, "a scheme's function");
  const int status = lua_pcall(L, 2, 0, 0);
  state->callback = outer;
  if (status == LUA_OK) return OKAPI_OK;

  lua_pushcfunction(L, value_to_text);
  lua_insert(L, -2);
  const bool has_text = lua_pcall(L, 1, 1, 0) == LUA_OK && lua_type(L, -1) == LUA_TSTRING;
  sink->report(sink, nullptr, has_text ? lua_tostring(L, -1) : "its Lua function failed");
  lua_settop(L, top);
  return status == LUA_ERRMEM ? OKAPI_RESOURCE_EXHAUSTED : OKAPI_INVALID_ARGUMENT;
}

static int32_t create(void* state, const okapi_params* params, void** instance, uint32_t*,
                      const okapi_error_sink* sink) noexcept {
  try {
    const char* json = params->json == nullptr || *params->json == '\0' ? "{}" : params->json;
    *instance = new SchemeInstance{static_cast<const LuaScheme*>(state), Json::parse(json)};
    return OKAPI_OK;
  } catch (const std::exception& error) {
    return fail(sink, error.what(), OKAPI_INTERNAL);
  }
}

static void destroy(void* instance) { delete static_cast<SchemeInstance*>(instance); }

static int32_t table(void* instance, const okapi_rope_geometry* geometry, okapi_rope_table_v1* out,
                     const okapi_error_sink* sink) {
  SchemeCall call{};
  call.instance = static_cast<const SchemeInstance*>(instance);
  call.geometry = geometry;
  call.table = out;
  return call_lua(call, run_table, sink);
}

static int32_t positions(void* instance, const okapi_rope_geometry* geometry, int64_t n,
                         okapi_random* random, double* out, const okapi_error_sink* sink) {
  SchemeCall call{};
  call.instance = static_cast<const SchemeInstance*>(instance);
  call.geometry = geometry;
  call.n = n;
  call.random = random;
  call.drawn = out;
  return call_lua(call, run_positions, sink);
}

static int32_t log_magnitude(void* instance, const okapi_rope_geometry* geometry, const double* at,
                             int64_t n, double* log_q, double* log_k,
                             const okapi_error_sink* sink) {
  SchemeCall call{};
  call.instance = static_cast<const SchemeInstance*>(instance);
  call.geometry = geometry;
  call.n = n;
  call.positions = at;
  call.log_q = log_q;
  call.log_k = log_k;
  return call_lua(call, run_log_magnitude, sink);
}

okapi_rope_scheme_v1 lua_scheme_functions(uint32_t flags, bool has_table, bool has_positions,
                                          bool has_log_magnitude) {
  okapi_rope_scheme_v1 scheme{};
  scheme.struct_size = sizeof scheme;
  scheme.flags = flags;
  scheme.create = create;
  scheme.destroy = destroy;
  scheme.table = has_table ? table : nullptr;
  scheme.positions = has_positions ? positions : nullptr;
  scheme.log_magnitude = has_log_magnitude ? log_magnitude : nullptr;
  return scheme;
}

void destroy_lua_scheme(void* scheme) { delete static_cast<LuaScheme*>(scheme); }

void open_scheme_call(lua_State* L) {
  lua_newtable(L);
  lua_pushcfunction(L, missing_field);
  lua_setfield(L, -2, "__index");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kGeometryKey);
  open_scheme_random(L);
}

}  // namespace okapi::lua
