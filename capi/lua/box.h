// Objects of the C API as Lua userdata. Each box keeps its parent's box alive (its user value), so
// that functions registered with a runtime live as long as any object that may call them; the C
// objects themselves may go in any order.
#pragma once

#include <string>

#include "capi/lua/arguments.h"
#include "capi/lua/state.h"

namespace okapi::lua {

template <class T>
struct Box {
  T* object;  ///< owned; null once closed
};

/// What Lua calls a kind of box, "model"; its address marks the metatable in the registry.
template <class T>
struct BoxKind;

#define OKAPI_LUA_BOX_KIND(type, word)         \
  template <>                                  \
  struct BoxKind<type> {                       \
    static constexpr const char* kName = word; \
    inline static const char kKey = 0;         \
  };

OKAPI_LUA_BOX_KIND(okapi_adapter, "adapter")
OKAPI_LUA_BOX_KIND(okapi_cancel, "cancel")
OKAPI_LUA_BOX_KIND(okapi_dataset, "dataset")
OKAPI_LUA_BOX_KIND(okapi_model, "model")
OKAPI_LUA_BOX_KIND(okapi_results, "results")
OKAPI_LUA_BOX_KIND(okapi_rope, "rope")
OKAPI_LUA_BOX_KIND(okapi_runtime, "runtime")
OKAPI_LUA_BOX_KIND(okapi_session, "session")
OKAPI_LUA_BOX_KIND(okapi_tokenizer, "tokenizer")
OKAPI_LUA_BOX_KIND(okapi_trainer, "trainer")

#undef OKAPI_LUA_BOX_KIND

/// Address of the userdata at `index` if its metatable is the one under `key`; else null.
inline void* userdata_of(lua_State* L, int index, const void* key) {
  need_stack(L, 2);
  void* memory = lua_touserdata(L, index);
  if (memory == nullptr || lua_islightuserdata(L, index) || !lua_getmetatable(L, index))
    return nullptr;
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  const bool is_ours = lua_rawequal(L, -1, -2) != 0;
  lua_pop(L, 2);
  return is_ours ? memory : nullptr;
}

template <class T>
bool is_box(lua_State* L, int index) {
  return userdata_of(L, index, &BoxKind<T>::kKey) != nullptr;
}

/// The object at `index`, open. Throws naming what was found.
template <class T>
T* object_at(lua_State* L, int index) {
  auto* box = static_cast<Box<T>*>(userdata_of(L, index, &BoxKind<T>::kKey));
  const std::string name = BoxKind<T>::kName;
  if (box == nullptr) {
    throw api::invalid(name + ": wanted an okapi." + name + ", found " + found_at(L, index), name);
  }
  if (box->object == nullptr) {
    throw Failure(OKAPI_FAILED_PRECONDITION, "the " + name + " is closed");
  }
  return box->object;
}

template <class T>
int close_box(lua_State* L) {
  auto* box = static_cast<Box<T>*>(userdata_of(L, 1, &BoxKind<T>::kKey));
  using api::unref;
  if (box != nullptr && box->object != nullptr) unref(std::exchange(box->object, nullptr));
  return 0;
}

template <class T>
int box_to_text(lua_State* L) {
  const auto* box = static_cast<const Box<T>*>(lua_touserdata(L, 1));
  lua_pushfstring(L, "okapi.%s: %s%p", BoxKind<T>::kName,
                  box == nullptr || box->object == nullptr ? "closed " : "", lua_topointer(L, 1));
  return 1;
}

/// Makes the metatable of a kind. Raises; called when the module opens.
template <class T>
void define_box(lua_State* L, const luaL_Reg* methods) {
  const std::pair<const char*, lua_CFunction> finalizers[] = {
      {"__gc", pure_entry<close_box<T>>}, {"__close", pure_entry<close_box<T>>}};
  lua_newtable(L);
  for (const auto& finalizer : finalizers) {
    lua_pushcfunction(L, finalizer.second);
    lua_setfield(L, -2, finalizer.first);
  }
  lua_pushcfunction(L, box_to_text<T>);
  lua_setfield(L, -2, "__tostring");
  lua_pushfstring(L, "okapi.%s", BoxKind<T>::kName);
  lua_setfield(L, -2, "__name");
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_pushcfunction(L, entry<close_box<T>>);
  lua_setfield(L, -2, "close");
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &BoxKind<T>::kKey);
}

/// Pushes a box around `object`, keeping the value at `parent` (0: an empty table) alive.
template <class T>
void push_box(lua_State* L, Handle<T> object, int parent) {
  need_stack(L, 1);
  if (parent == 0) {
    lua_pushnil(L);
  } else {
    lua_pushvalue(L, parent);
  }
  protect(L, 1, 1, [](lua_State* inner) {
    auto* box = static_cast<Box<T>*>(lua_newuserdatauv(inner, sizeof(Box<T>), 1));
    box->object = nullptr;
    if (lua_isnil(inner, 1)) {
      lua_newtable(inner);
    } else {
      lua_pushvalue(inner, 1);
    }
    lua_setiuservalue(inner, -2, 1);
    lua_rawgetp(inner, LUA_REGISTRYINDEX, &BoxKind<T>::kKey);
    lua_setmetatable(inner, -2);
    return 1;
  });
  static_cast<Box<T>*>(lua_touserdata(L, -1))->object = object.release();
}

/// Pushes the runtime's box that the box at `index` descends from.
void push_runtime_of(lua_State* L, int index);

}  // namespace okapi::lua
