// okapi.tokenizer(path) and model:tokenizer().
#include "capi/lua/arguments.h"
#include "capi/lua/bindings.h"
#include "capi/lua/box.h"
#include "capi/lua/ids.h"
#include "capi/lua/json_value.h"
#include "capi/lua/runtime.h"
#include "capi/lua/tokens.h"

namespace okapi::lua {

void push_ids(lua_State* L, const std::vector<int32_t>& ids) {
  protect(L, 0, 1, [&ids](lua_State* inner) {
    lua_createtable(inner, static_cast<int>(ids.size()), 0);
    for (size_t i = 0; i < ids.size(); ++i) {
      lua_pushinteger(inner, ids[i]);
      lua_rawseti(inner, -2, static_cast<lua_Integer>(i) + 1);
    }
    return 1;
  });
}

static int tokenizer_new(lua_State* L) {
  const std::string path = text_at(L, 1, "path");
  const Options given(L, 2, "tokenizer", {"runtime"});
  okapi_runtime* runtime = push_runtime_option(L, given);
  push_box(L, api::make<okapi_tokenizer>(okapi_tokenizer_open, runtime, path.c_str()),
           lua_gettop(L));
  return 1;
}

int model_tokenizer(lua_State* L) {
  push_box(L, api::make<okapi_tokenizer>(okapi_model_get_tokenizer, object_at<okapi_model>(L, 1)),
           1);
  return 1;
}

// tokenizer:encode(text [, {bos=true}]) -> table of ids
static int tokenizer_encode(lua_State* L) {
  const okapi_tokenizer* tokenizer = object_at<okapi_tokenizer>(L, 1);
  const std::string text = text_at(L, 2, "text");
  const Options given(L, 3, "encode", {"bos"});
  push_ids(L, api::encode(tokenizer, text, given.boolean("bos", false)));
  return 1;
}

static int tokenizer_decode(lua_State* L) {
  const okapi_tokenizer* tokenizer = object_at<okapi_tokenizer>(L, 1);
  push_text(L, api::decode(tokenizer, ids_at(L, 2, "ids")));
  return 1;
}

static int tokenizer_count(lua_State* L) {
  const okapi_tokenizer* tokenizer = object_at<okapi_tokenizer>(L, 1);
  const std::string text = text_at(L, 2, "text");
  const Options given(L, 3, "count", {"bos"});
  lua_pushinteger(L, static_cast<lua_Integer>(
                         api::encode(tokenizer, text, given.boolean("bos", false)).size()));
  return 1;
}

static int tokenizer_vocab_size(lua_State* L) {
  lua_pushinteger(L, okapi_tokenizer_vocab_size(object_at<okapi_tokenizer>(L, 1)));
  return 1;
}

static int tokenizer_describe(lua_State* L) {
  push_json_text(L, api::text(okapi_tokenizer_describe, object_at<okapi_tokenizer>(L, 1)));
  return 1;
}

void open_tokenizer(lua_State* L) {
  const luaL_Reg methods[] = {
      {"count", entry<tokenizer_count>},           {"decode", entry<tokenizer_decode>},
      {"describe", entry<tokenizer_describe>},     {"encode", entry<tokenizer_encode>},
      {"vocab_size", entry<tokenizer_vocab_size>}, {nullptr, nullptr}};
  define_box<okapi_tokenizer>(L, methods);
  lua_pushcfunction(L, entry<tokenizer_new>);
  lua_setfield(L, -2, "tokenizer");
}

}  // namespace okapi::lua
