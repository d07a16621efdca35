// okapi.cancel(): a token that stops the long calls it is given to.
#include "capi/lua/bindings.h"
#include "capi/lua/box.h"

namespace okapi::lua {

static int cancel_new(lua_State* L) {
  push_box(L, api::make<okapi_cancel>(okapi_cancel_create), 0);
  return 1;
}

static int cancel_request(lua_State* L) {
  okapi_cancel_request(object_at<okapi_cancel>(L, 1));
  return 0;
}

static int cancel_requested(lua_State* L) {
  lua_pushboolean(L, okapi_cancel_requested(object_at<okapi_cancel>(L, 1)));
  return 1;
}

static int cancel_reset(lua_State* L) {
  okapi_cancel_reset(object_at<okapi_cancel>(L, 1));
  return 0;
}

void open_cancel(lua_State* L) {
  const luaL_Reg methods[] = {{"request", pure_entry<cancel_request>},
                              {"requested", pure_entry<cancel_requested>},
                              {"reset", pure_entry<cancel_reset>},
                              {nullptr, nullptr}};
  define_box<okapi_cancel>(L, methods);
  lua_pushcfunction(L, entry<cancel_new>);
  lua_setfield(L, -2, "cancel");
}

}  // namespace okapi::lua
