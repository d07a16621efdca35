#include "capi/lua/state.h"

#include <algorithm>
#include <new>

namespace okapi::lua {

// Addresses are the registry's keys.
static const char kStateKey = 0;
static const char kErrorKey = 0;      // the Lua error on its way through C++
static const char kFunctionsKey = 0;  // number -> function, weak values
static const char kErrorTypeKey = 0;  // metatable of error objects

using StateBox = std::shared_ptr<State>;

std::shared_ptr<State> state_of(lua_State* L) {
  need_stack(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kStateKey);
  auto* box = static_cast<StateBox*>(lua_touserdata(L, -1));
  lua_pop(L, 1);
  if (box == nullptr || *box == nullptr) {
    throw Failure(OKAPI_FAILED_PRECONDITION, "the Lua state is closing");
  }
  return *box;
}

static int close_state(lua_State* L) {
  auto* box = static_cast<StateBox*>(lua_touserdata(L, 1));
  box->reset();
  return 0;
}

static int error_to_text(lua_State* L) {
  lua_getfield(L, 1, "where");
  lua_getfield(L, 1, "message");
  lua_concat(L, 2);
  return 1;
}

void open_state(lua_State* L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &kStateKey) == LUA_TUSERDATA) {
    lua_pop(L, 1);
    return;
  }
  lua_pop(L, 1);

  // The box gets its finalizer before anything of ours is made, so it is finalized last.
  void* memory = lua_newuserdatauv(L, sizeof(StateBox), 0);
  auto* box = new (memory) StateBox;
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, close_state);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kStateKey);

  lua_pushboolean(L, 0);  // holds the slot, so that storing an error there allocates nothing
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kErrorKey);

  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kFunctionsKey);

  lua_createtable(L, 0, 2);
  lua_pushliteral(L, "okapi.error");
  lua_setfield(L, -2, "__name");
  lua_pushcfunction(L, error_to_text);
  lua_setfield(L, -2, "__tostring");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kErrorTypeKey);

  try {
    *box = std::make_shared<State>();
    return;
  } catch (const std::exception&) {
  }
  luaL_error(L, "okapi: out of memory");
}

void set_embedding(lua_State* L, Embedding embedding) {
  state_of(L)->embedding = std::move(embedding);
}

RunningBinding::RunningBinding(State& state, lua_State* L)
    : state_(state), previous_(state.current), previous_thread_(state.thread) {
  state_.current = L;
  state_.thread = std::this_thread::get_id();
}

RunningBinding::~RunningBinding() {
  state_.current = previous_;
  state_.thread = previous_thread_;
}

int run_binding(lua_State* L, Binding binding, bool calls_okapi) noexcept {
  constexpr int kRoom = 32;
  std::shared_ptr<State> state;
  try {
    need_stack(L, kRoom);
    state = state_of(L);
    RunningBinding running(*state, L);
    if (calls_okapi && state->callback != nullptr) {
      throw Failure(OKAPI_FAILED_PRECONDITION,
                    std::string(state->callback) + " must not call okapi: okapi is calling it");
    }
    return binding(L);
  } catch (const LuaRaised&) {
    if (state != nullptr) state->failure.reset();
  } catch (const Failure& failure) {
    if (state != nullptr) state->failure = failure;
  } catch (const std::bad_alloc&) {
    if (state != nullptr) state->failure.emplace(OKAPI_RESOURCE_EXHAUSTED, "out of memory");
  } catch (const std::exception& error) {
    if (state != nullptr) state->failure.emplace(OKAPI_INTERNAL, error.what());
  }
  return -1;
}

// Runs with no C++ object alive in any frame, so it may raise.
void push_failure(lua_State* L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kStateKey);
  auto* box = static_cast<StateBox*>(lua_touserdata(L, -1));
  if (box == nullptr || *box == nullptr) {
    lua_pushliteral(L, "okapi: the Lua state is closing");
    return;
  }
  State& state = **box;
  if (!state.failure.has_value()) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &kErrorKey);
    lua_pushboolean(L, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &kErrorKey);
    return;
  }
  const Failure& failure = *state.failure;
  lua_createtable(L, 0, 6);
  lua_pushstring(L, okapi_status_name(failure.code()));
  lua_setfield(L, -2, "code");
  lua_pushlstring(L, failure.message().data(), failure.message().size());
  lua_setfield(L, -2, "message");
  lua_pushlstring(L, failure.component().data(), failure.component().size());
  lua_setfield(L, -2, "component");
  lua_pushlstring(L, failure.field().data(), failure.field().size());
  lua_setfield(L, -2, "field");
  lua_pushlstring(L, failure.file().data(), failure.file().size());
  lua_setfield(L, -2, "file");
  luaL_where(L, 1);
  lua_setfield(L, -2, "where");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kErrorTypeKey);
  lua_setmetatable(L, -2);
}

void keep_lua_error(lua_State* L) { lua_rawsetp(L, LUA_REGISTRYINDEX, &kErrorKey); }

void throw_lua_error(lua_State* L) {
  keep_lua_error(L);
  throw LuaRaised{};
}

void push_text(lua_State* L, const std::string& text) {
  protect(L, 0, 1, [&text](lua_State* inner) {
    lua_pushlstring(inner, text.data(), text.size());
    return 1;
  });
}

int64_t keep_function(lua_State* L, int keeper) {
  const int64_t id = state_of(L)->next_function_id++;
  keeper = lua_absindex(L, keeper);
  need_stack(L, 2);
  lua_pushvalue(L, keeper);
  lua_insert(L, -2);
  protect(L, 2, 0, [id](lua_State* inner) {  // 1 box, 2 function
    lua_rawgetp(inner, LUA_REGISTRYINDEX, &kFunctionsKey);
    lua_pushvalue(inner, 2);
    lua_rawseti(inner, -2, id);
    lua_getiuservalue(inner, 1, 1);
    lua_pushvalue(inner, 2);
    lua_rawseti(inner, -2, id);
    return 0;
  });
  return id;
}

bool push_function(lua_State* L, int64_t id) {
  if (!lua_checkstack(L, 2)) return false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &kFunctionsKey);
  lua_rawgeti(L, -1, id);
  lua_remove(L, -2);
  if (!lua_isnil(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

static const char* level_name(int32_t level) {
  switch (level) {
    case OKAPI_LOG_TRACE:
      return "trace";
    case OKAPI_LOG_DEBUG:
      return "debug";
    case OKAPI_LOG_INFO:
      return "info";
    case OKAPI_LOG_WARN:
      return "warn";
    default:
      return "error";
  }
}

// Upvalue-free Lua function: (function, LogRecord*) -> calls function(table).
static int call_log_function(lua_State* L) {
  const auto& record = *static_cast<const LogRecord*>(lua_touserdata(L, 2));
  lua_pushvalue(L, 1);
  lua_createtable(L, 0, 5);
  lua_pushstring(L, level_name(record.level));
  lua_setfield(L, -2, "level");
  lua_pushlstring(L, record.component.data(), record.component.size());
  lua_setfield(L, -2, "component");
  lua_pushlstring(L, record.message.data(), record.message.size());
  lua_setfield(L, -2, "message");
  lua_pushnumber(L, static_cast<double>(record.time_ns) * 1e-9);
  lua_setfield(L, -2, "time");
  lua_createtable(L, 0, static_cast<int>(record.fields.size()));
  for (const auto& field : record.fields) {
    lua_pushlstring(L, field.first.data(), field.first.size());
    lua_pushlstring(L, field.second.data(), field.second.size());
    lua_rawset(L, -3);
  }
  lua_setfield(L, -2, "fields");
  lua_call(L, 1, 0);
  return 0;
}

void deliver_logs(lua_State* L) noexcept {
  try {
    const std::shared_ptr<State> state = state_of(L);
    if (state->current != nullptr) return;  // within another binding, which will do it
    // NOLINTNEXTLINE(modernize-loop-convert): a log function may open a runtime, which adds a queue
    for (size_t i = 0; i < state->log_queues.size(); ++i) {
      const std::shared_ptr<LogQueue> queue = state->log_queues[i];
      std::vector<LogRecord> records;
      {
        const std::lock_guard lock(queue->mutex);
        records.swap(queue->records);
      }
      for (LogRecord& record : records) {
        if (!lua_checkstack(L, 4) || !push_function(L, queue->function_id)) break;
        lua_pushcfunction(L, call_log_function);
        lua_insert(L, -2);
        lua_pushlightuserdata(L, &record);
        // A log function that fails must not fail the call that logged.
        if (lua_pcall(L, 2, 0, 0) != LUA_OK) lua_pop(L, 1);
      }
    }
    std::erase_if(state->log_queues, [](const auto& queue) { return queue.use_count() == 1; });
  } catch (...) {
    // Out of memory while handing over log records: they are lost, the call they were about is not.
  }
}

}  // namespace okapi::lua
