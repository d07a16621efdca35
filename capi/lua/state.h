// What the module keeps per Lua state, and how a binding runs.
//
// A Lua error jumps over C++ frames without running destructors. So a binding is a C++ function
// that throws; run_binding() catches, lets every C++ object die, and only then raises in Lua. What
// may raise inside Lua (whatever allocates or calls Lua code) is done within protect(), which turns
// a Lua error into an exception again. Plain reads (lua_type, lua_next, lua_rawgeti...) need no
// such care.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <lua.hpp>

#include "capi/lua/c_api.h"
#include "capi/lua/embed.h"

namespace okapi::lua {

using api::Failure;
using api::Handle;

/// Thrown by protect(): a Lua error is on its way; its value waits in the registry.
struct LuaRaised {};

/// A log record kept until the thread that runs Lua can look at it.
struct LogRecord {
  int32_t level;
  std::string component;
  std::string message;
  uint64_t time_ns;
  std::vector<std::pair<std::string, std::string>> fields;
};

/// Records of one runtime, from any thread, for the Lua function `function_id`.
struct LogQueue {
  int64_t function_id = 0;
  std::mutex mutex;
  std::vector<LogRecord> records;
};

/// One per Lua state, shared by the objects that outlive their box (schemes, log sinks).
struct State {
  lua_State* current = nullptr;    ///< the coroutine whose binding runs now; null between bindings
  std::thread::id thread;          ///< that called it
  const char* callback = nullptr;  ///< the kind of callback that runs now: okapi must not be called
  std::optional<Failure> failure;  ///< to be raised once C++ has unwound
  Embedding embedding;
  int64_t next_function_id = 1;
  std::vector<std::shared_ptr<LogQueue>> log_queues;
};

/// The state's, made on first use by open_state().
std::shared_ptr<State> state_of(lua_State* L);
void open_state(lua_State* L);

/// Marks a binding as running, for callbacks from C to find their Lua state.
class RunningBinding {
 public:
  RunningBinding(State& state, lua_State* L);
  ~RunningBinding();
  RunningBinding(const RunningBinding&) = delete;
  RunningBinding& operator=(const RunningBinding&) = delete;

 private:
  State& state_;
  lua_State* previous_;
  std::thread::id previous_thread_;
};

using Binding = int (*)(lua_State* L);

/// Runs `binding`; -1 if it failed and push_failure() is to follow.
int run_binding(lua_State* L, Binding binding, bool calls_okapi) noexcept;

/// Pushes what the failed binding left: an error object, or the Lua error that passed through it.
void push_failure(lua_State* L);

/// Hands waiting log records to their functions.
void deliver_logs(lua_State* L) noexcept;

/// The C function to give to Lua for a binding that calls okapi.
template <Binding kBinding>
int entry(lua_State* L) {
  const int n_results = run_binding(L, kBinding, true);
  deliver_logs(L);
  if (n_results >= 0) return n_results;
  push_failure(L);
  return lua_error(L);
}

/// The same for one that does not, and may run within callbacks.
template <Binding kBinding>
int pure_entry(lua_State* L) {
  const int n_results = run_binding(L, kBinding, false);
  if (n_results >= 0) return n_results;
  push_failure(L);
  return lua_error(L);
}

/// Makes sure that `n` values fit on the stack, without raising.
inline void need_stack(lua_State* L, int n) {
  if (!lua_checkstack(L, n)) throw Failure(OKAPI_RESOURCE_EXHAUSTED, "Lua stack is full");
}

/// Takes the error value on top of the stack, for push_failure() to raise after LuaRaised.
void keep_lua_error(lua_State* L);

/// keep_lua_error(), then throws LuaRaised.
[[noreturn]] void throw_lua_error(lua_State* L);

/// Runs body(L) as a Lua function: the top `n_arguments` values are its stack from 1 on,
/// `n_results` values of its return remain. `body` may raise, so it must own nothing that needs a
/// destructor, and must not throw.
template <class Body>
void protect(lua_State* L, int n_arguments, int n_results, Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  need_stack(L, n_arguments + n_results + 4);
  lua_pushcfunction(L, [](lua_State* inner) -> int {
    auto* plain = static_cast<Plain*>(lua_touserdata(inner, -1));
    lua_pop(inner, 1);
    return (*plain)(inner);
  });
  lua_insert(L, -(n_arguments + 1));
  lua_pushlightuserdata(L, const_cast<void*>(static_cast<const void*>(&body)));
  if (lua_pcall(L, n_arguments + 1, n_results, 0) != LUA_OK) throw_lua_error(L);
}

/// Pushes a string.
void push_text(lua_State* L, const std::string& text);

/// A Lua function that callbacks from C look up by number, so that they keep nothing alive: pops
/// the value on top and keeps it as long as the box at `keeper` lives. Returns its number.
int64_t keep_function(lua_State* L, int keeper);

/// Pushes what keep_function() took; false, and nothing pushed, if it has been collected.
bool push_function(lua_State* L, int64_t id);

}  // namespace okapi::lua
