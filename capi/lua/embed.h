// How the `okapi` command embeds the module. Stock Lua needs none of this.
#pragma once

#include <atomic>
#include <functional>

#include <lua.hpp>

#include "capi/lua/c_api.h"

namespace okapi::lua {

/// Stops long calls from a signal handler: requests `token`, and the token of the call that runs
/// now if the script gave one of its own.
struct Interrupt {
  okapi_cancel* token = nullptr;
  std::atomic<okapi_cancel*> active = nullptr;
};

/// What the embedder decides; empty members mean the module's own choice.
struct Embedding {
  std::function<api::Handle<okapi_runtime>()> make_default_runtime;
  Interrupt* interrupt = nullptr;  ///< outlives the Lua state
};

/// Tells the module of this state. Call after luaopen_okapi().
void set_embedding(lua_State* L, Embedding embedding);

}  // namespace okapi::lua

/// Opens the module: pushes its table.
extern "C" __attribute__((visibility("default"))) int luaopen_okapi(lua_State* L);
