// model:adapter(path): a LoRA adapter beside a model; okapi.adapter.merge{base=, adapter=, out=}:
// one model of both.
#include "capi/lua/adapter.h"

#include "capi/lua/arguments.h"
#include "capi/lua/bindings.h"
#include "capi/lua/json_value.h"
#include "capi/lua/long_call.h"
#include "capi/lua/runtime.h"

namespace okapi::lua {

Handle<okapi_adapter> adapter_option(lua_State* L, int slot, okapi_model* model) {
  if (slot == 0) return nullptr;
  if (is_box<okapi_adapter>(L, slot)) {
    return Handle<okapi_adapter>(okapi_adapter_ref(object_at<okapi_adapter>(L, slot)));
  }
  if (lua_type(L, slot) != LUA_TSTRING) {
    throw api::invalid("adapter: wanted a folder or an adapter, found " + found_at(L, slot),
                       "adapter");
  }
  const std::string path = text_at(L, slot, "adapter");
  return api::make<okapi_adapter>(okapi_adapter_open, model, path.c_str());
}

int model_adapter(lua_State* L) {
  okapi_model* model = object_at<okapi_model>(L, 1);
  const std::string path = text_at(L, 2, "path");
  push_box(L, api::make<okapi_adapter>(okapi_adapter_open, model, path.c_str()), 1);
  return 1;
}

static int adapter_describe(lua_State* L) {
  push_json_text(L, api::text(okapi_adapter_describe, object_at<okapi_adapter>(L, 1)));
  return 1;
}

static int adapter_save(lua_State* L) {
  const okapi_adapter* adapter = object_at<okapi_adapter>(L, 1);
  const std::string folder = text_at(L, 2, "folder");
  api::call(okapi_adapter_save, adapter, folder.c_str());
  return 0;
}

static int adapter_merge(lua_State* L) {
  const Options given(L, 1, "adapter.merge",
                      {"base", "adapter", "out", "dtype", "progress", "cancel"});
  const std::string base = given.required_text("base");
  const std::string adapter = given.required_text("adapter");
  const std::string out = given.required_text("out");
  okapi_merge_options options = OKAPI_MERGE_OPTIONS_INIT;
  if (const auto dtype = given.text("dtype")) options.dtype = dtype_option(*dtype);
  LongCall long_call(L, given.function("progress"), cancel_option(L, given.slot("cancel")));
  options.progress = LongCall::on_progress;
  options.progress_user_data = &long_call;
  options.cancel = long_call.cancel();
  long_call.run([&] {
    api::call(okapi_adapter_merge, base.c_str(), adapter.c_str(), out.c_str(), &options);
  });
  return 0;
}

void open_adapter(lua_State* L) {
  const luaL_Reg methods[] = {
      {"describe", entry<adapter_describe>}, {"save", entry<adapter_save>}, {nullptr, nullptr}};
  define_box<okapi_adapter>(L, methods);
  const luaL_Reg functions[] = {{"merge", entry<adapter_merge>}, {nullptr, nullptr}};
  luaL_newlib(L, functions);
  lua_setfield(L, -2, "adapter");
}

}  // namespace okapi::lua
