// The module's table.
#include <lua.hpp>

#include "capi/lua/bindings.h"
#include "capi/lua/embed.h"
#include "capi/lua/state.h"

namespace okapi::lua {

static int version(lua_State* L) {
  const uint32_t abi = okapi_abi_version();
  push_text(L, okapi_version_string());
  lua_pushinteger(L, OKAPI_ABI_MAJOR_OF(abi));
  lua_pushinteger(L, OKAPI_ABI_MINOR_OF(abi));
  return 3;
}

}  // namespace okapi::lua

int luaopen_okapi(lua_State* L) {
  using namespace okapi::lua;
  luaL_checkversion(L);
  open_state(L);
  lua_newtable(L);
  lua_pushcfunction(L, pure_entry<version>);
  lua_setfield(L, -2, "version");
  open_adapter(L);
  open_array(L);
  open_cancel(L);
  open_dataset(L);
  open_delta(L);
  open_evaluation(L);
  open_json(L);
  open_model(L);
  open_results(L);
  open_rope(L);
  open_rope_scheme(L);
  open_runtime(L);
  open_session(L);
  open_task(L);
  open_tokenizer(L);
  open_trainer(L);
  return 1;
}
