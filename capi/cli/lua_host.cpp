#include "capi/cli/lua_host.h"

#include <cstdio>
#include <new>

#include "capi/cli/interrupt.h"

namespace okapi::cli {

// Everything that may raise while the state is prepared, in one protected call. Argument: the
// runtime arguments, which outlive the state.
static int prepare(lua_State* L) {
  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_okapi);
  lua_setfield(L, -2, "okapi");
  lua_pop(L, 1);
  lua_pushcfunction(L, luaopen_okapi);  // makes the state that set_embedding() speaks to
  lua_call(L, 0, 0);
  return 0;
}

LuaHost::LuaHost(const RuntimeArguments& runtime) : L_(luaL_newstate()) {
  if (L_ == nullptr) throw std::bad_alloc();
  lua_pushcfunction(L_, prepare);
  if (lua_pcall(L_, 0, 0, 0) != LUA_OK) {
    const char* message = lua_tostring(L_, -1);
    Failure failure(OKAPI_INTERNAL, message == nullptr ? "Lua cannot be prepared" : message);
    lua_close(L_);
    throw failure;
  }
  lua::Embedding embedding;
  embedding.make_default_runtime = [runtime] { return runtime.open(); };
  embedding.interrupt = &interrupt();
  lua::set_embedding(L_, std::move(embedding));
  set_interrupted_lua(L_);
}

LuaHost::~LuaHost() {
  set_interrupted_lua(nullptr);
  lua_close(L_);
}

struct ScriptArguments {
  const std::string* script;
  const std::vector<std::string>* arguments;
};

static int push_arguments(lua_State* L) {
  const auto& given = *static_cast<const ScriptArguments*>(lua_touserdata(L, 1));
  lua_createtable(L, static_cast<int>(given.arguments->size()), 1);
  lua_pushlstring(L, given.script->data(), given.script->size());
  lua_rawseti(L, -2, 0);
  lua_Integer i = 0;
  for (const std::string& argument : *given.arguments) {
    lua_pushlstring(L, argument.data(), argument.size());
    lua_rawseti(L, -2, ++i);
  }
  lua_setglobal(L, "arg");
  return 0;
}

void LuaHost::set_arguments(const std::string& script, const std::vector<std::string>& arguments) {
  ScriptArguments given{&script, &arguments};
  lua_pushcfunction(L_, push_arguments);
  lua_pushlightuserdata(L_, &given);
  if (lua_pcall(L_, 1, 0, 0) != LUA_OK) throw std::bad_alloc();
}

// Message handler: the error as text, and where it came from.
static int add_traceback(lua_State* L) {
  const char* message = luaL_tolstring(L, 1, nullptr);
  luaL_traceback(L, L, message, 1);
  return 1;
}

int LuaHost::call(int n_arguments, int n_results) {
  const int base = lua_gettop(L_) - n_arguments;
  lua_pushcfunction(L_, add_traceback);
  lua_insert(L_, base);
  const int status = lua_pcall(L_, n_arguments, n_results, base);
  lua_remove(L_, base);
  if (status == LUA_OK) return kExitOk;
  if (is_interrupted()) lua_sethook(L_, nullptr, 0, 0);
  const char* message = lua_tostring(L_, -1);
  std::fflush(stdout);
  if (is_interrupted()) {
    std::fputs("okapi: interrupted\n", stderr);
  } else {
    std::fprintf(stderr, "okapi: %s\n", message == nullptr ? "error" : message);
  }
  lua_pop(L_, 1);
  return is_interrupted() ? kExitInterrupted : kExitFailure;
}

}  // namespace okapi::cli
