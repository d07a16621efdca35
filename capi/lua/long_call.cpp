#include "capi/lua/long_call.h"

#include "capi/lua/box.h"
#include "capi/lua/json_value.h"

namespace okapi::lua {

LongCall::LongCall(lua_State* L, int progress, okapi_cancel* cancel)
    : L_(L), state_(state_of(L)), progress_(progress) {
  if (cancel == nullptr) {
    own_cancel_ = api::make<okapi_cancel>(okapi_cancel_create);
    cancel = own_cancel_.get();
  }
  cancel_ = cancel;
  was_requested_ = okapi_cancel_requested(cancel_) != 0;

  Interrupt* interrupt = state_->embedding.interrupt;
  if (interrupt == nullptr) return;
  interrupt->active = cancel_;
  if (okapi_cancel_requested(interrupt->token)) {  // it may have come before `active` was set
    interrupt->active = nullptr;
    throw Failure(OKAPI_CANCELLED, "interrupted");
  }
}

LongCall::~LongCall() {
  if (Interrupt* interrupt = state_->embedding.interrupt) interrupt->active = nullptr;
  // A script's token that only a failing callback requested is given back as it was.
  if (callback_failed_ && !was_requested_) okapi_cancel_reset(cancel_);
}

bool LongCall::call_back(int n_arguments) {
  if (lua_pcall(L_, n_arguments, 1, 0) != LUA_OK) {
    keep_lua_error(L_);
    callback_failed_ = true;
    okapi_cancel_request(cancel_);
    return false;
  }
  const bool is_false = lua_isboolean(L_, -1) && !lua_toboolean(L_, -1);
  lua_pop(L_, 1);
  return !is_false;
}

// (function or nil, okapi_progress*): also called without a function, as Lua's debug hooks, which
// is how stock lua5.4 hears of Ctrl-C, run when something is called.
static int report_progress(lua_State* L) {
  if (lua_isnil(L, 1)) return 0;
  const auto& progress = *static_cast<const okapi_progress*>(lua_touserdata(L, 2));
  lua_pushvalue(L, 1);
  lua_createtable(L, 0, 4);
  lua_pushstring(L, progress.stage);
  lua_setfield(L, -2, "stage");
  lua_pushinteger(L, progress.done);
  lua_setfield(L, -2, "done");
  lua_pushinteger(L, progress.total);
  lua_setfield(L, -2, "total");
  lua_pushstring(L, progress.detail);
  lua_setfield(L, -2, "detail");
  lua_call(L, 1, 1);
  return 1;
}

void LongCall::on_progress(const okapi_progress* progress, void* self) {
  auto& call = *static_cast<LongCall*>(self);
  if (call.callback_failed_ || !lua_checkstack(call.L_, 6)) return;
  lua_pushcfunction(call.L_, report_progress);
  if (call.progress_ == 0) {
    lua_pushnil(call.L_);
  } else {
    lua_pushvalue(call.L_, call.progress_);
  }
  lua_pushlightuserdata(call.L_, const_cast<okapi_progress*>(progress));
  const char* outer = std::exchange(call.state_->callback, "a progress function");
  const bool goes_on = call.call_back(2);
  call.state_->callback = outer;
  if (!goes_on) okapi_cancel_request(call.cancel_);
}

struct TokenText {
  const char* text;
  size_t n_bytes;
};

// (function or nil, id, TokenText*)
static int report_token(lua_State* L) {
  if (lua_isnil(L, 1)) return 0;
  const auto& token = *static_cast<const TokenText*>(lua_touserdata(L, 3));
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_pushlstring(L, token.n_bytes == 0 ? "" : token.text, token.n_bytes);
  lua_call(L, 2, 1);
  return 1;
}

bool LongCall::call_on_token(int function, int32_t id, const char* text, size_t n_bytes) {
  if (callback_failed_ || !lua_checkstack(L_, 6)) return false;
  TokenText token{text, n_bytes};
  lua_pushcfunction(L_, report_token);
  if (function == 0) {
    lua_pushnil(L_);
  } else {
    lua_pushvalue(L_, function);
  }
  lua_pushinteger(L_, id);
  lua_pushlightuserdata(L_, &token);
  return call_back(3);
}

// (function, Json*)
static int report_json(lua_State* L) {
  const auto& json = *static_cast<const Json*>(lua_touserdata(L, 2));
  lua_pushvalue(L, 1);
  push_json_value(L, json);
  lua_call(L, 1, 1);
  return 1;
}

void LongCall::call_on_json(int function, const char* json, const char* kind) {
  if (function == 0 || callback_failed_ || !lua_checkstack(L_, 6)) return;
  const Json value = Json::parse(json);
  lua_pushcfunction(L_, report_json);
  lua_pushvalue(L_, function);
  lua_pushlightuserdata(L_, const_cast<Json*>(&value));
  const char* outer = std::exchange(state_->callback, kind);
  const bool goes_on = call_back(2);
  state_->callback = outer;
  if (!goes_on) okapi_cancel_request(cancel_);
}

okapi_cancel* cancel_option(lua_State* L, int slot) {
  return slot == 0 ? nullptr : object_at<okapi_cancel>(L, slot);
}

}  // namespace okapi::lua
