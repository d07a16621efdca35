#include "capi/lua/scheme_random.h"

#include "capi/lua/box.h"
#include "capi/lua/state.h"

namespace okapi::lua {

/// Of the metatable of random streams.
static const char kRandomKey = 0;

void push_random(lua_State* L, const okapi_random& random) {
  auto* copy = static_cast<okapi_random*>(lua_newuserdatauv(L, sizeof(okapi_random), 0));
  *copy = random;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kRandomKey);
  lua_setmetatable(L, -2);
}

static okapi_random& random_at(lua_State* L) {
  auto* random = static_cast<okapi_random*>(userdata_of(L, 1, &kRandomKey));
  if (random == nullptr) throw api::invalid("random stream expected");
  return *random;
}

static int draw_uniform(lua_State* L) {
  okapi_random& random = random_at(L);
  lua_pushnumber(L, random.uniform(&random));
  return 1;
}

static int draw_uniform_int(lua_State* L) {
  okapi_random& random = random_at(L);
  int is_low_integer = 0;
  int is_high_integer = 0;
  const lua_Integer low = lua_tointegerx(L, 2, &is_low_integer);
  const lua_Integer high = lua_tointegerx(L, 3, &is_high_integer);
  if (!is_low_integer || !is_high_integer || low > high) {
    throw api::invalid("uniform_int: wanted two integers, the lower first");
  }
  lua_pushinteger(L, random.uniform_int(&random, low, high));
  return 1;
}

void open_scheme_random(lua_State* L) {
  const luaL_Reg methods[] = {{"uniform", pure_entry<draw_uniform>},
                              {"uniform_int", pure_entry<draw_uniform_int>},
                              {nullptr, nullptr}};
  lua_newtable(L);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "okapi.random");
  lua_setfield(L, -2, "__name");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kRandomKey);
}

}  // namespace okapi::lua
