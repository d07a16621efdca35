#include "capi/cli/interrupt.h"

#include <csignal>

namespace okapi::cli {

// The handler reads only these; all are lock-free atomics.
static std::atomic<lua::Interrupt*> g_interrupt = nullptr;
static std::atomic<lua_State*> g_lua = nullptr;
static_assert(std::atomic<lua::Interrupt*>::is_always_lock_free);

// Stays in place, so that a pcall around it does not keep a script from ending.
static void stop_lua(lua_State* L, lua_Debug*) { luaL_error(L, "interrupted"); }

static void on_signal(int signal) {
  std::signal(signal, SIG_DFL);  // a second Ctrl-C ends the program
  lua::Interrupt* interrupt = g_interrupt;
  if (interrupt == nullptr) return;
  okapi_cancel_request(interrupt->token);
  if (okapi_cancel* active = interrupt->active) okapi_cancel_request(active);
  if (lua_State* L = g_lua) {
    lua_sethook(L, stop_lua, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
  }
}

lua::Interrupt& interrupt() {
  static lua::Interrupt* const kInterrupt = [] {
    // Lives as long as the process: the handler may run until the very end.
    auto* made = new lua::Interrupt;
    made->token = api::make<okapi_cancel>(okapi_cancel_create).release();
    g_interrupt = made;
    std::signal(SIGINT, on_signal);
    return made;
  }();
  return *kInterrupt;
}

bool is_interrupted() {
  lua::Interrupt* made = g_interrupt;
  return made != nullptr && okapi_cancel_requested(made->token) != 0;
}

void clear_interrupt() {
  okapi_cancel_reset(interrupt().token);
  if (lua_State* L = g_lua) lua_sethook(L, nullptr, 0, 0);
  std::signal(SIGINT, on_signal);
}

static void set_reads_go_on(bool go_on) {
  struct sigaction action = {};
  sigaction(SIGINT, nullptr, &action);
  action.sa_flags = go_on ? action.sa_flags | SA_RESTART : action.sa_flags & ~SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
}

InterruptibleRead::InterruptibleRead() { set_reads_go_on(false); }
InterruptibleRead::~InterruptibleRead() { set_reads_go_on(true); }

void set_interrupted_lua(lua_State* L) { g_lua = L; }

}  // namespace okapi::cli
