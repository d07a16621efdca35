// A call of the C API that may take long: it can be cancelled, by a script's token or by Ctrl-C,
// and it calls Lua functions, whose errors stop it and are raised once it has returned.
#pragma once

#include "capi/lua/state.h"

namespace okapi::lua {

class LongCall {
 public:
  /// @param progress  stack index of a Lua function, or 0
  /// @param cancel    the script's token, or null
  LongCall(lua_State* L, int progress, okapi_cancel* cancel);
  ~LongCall();
  LongCall(const LongCall&) = delete;
  LongCall& operator=(const LongCall&) = delete;

  /// What to put into the call's options.
  okapi_cancel* cancel() const { return cancel_; }

  /// okapi_progress_callback; its user data is the LongCall.
  static void on_progress(const okapi_progress* progress, void* self);

  /// Calls the function at stack index `function` with (id, text), for okapi_token_callback.
  /// False if generation is to stop: the function failed or returned false.
  bool call_on_token(int function, int32_t id, const char* text, size_t n_bytes);

  /// Calls the function at stack index `function` with the value of a JSON text, for
  /// okapi_metrics_callback; `kind` names it where it calls okapi, which it must not. An error or
  /// false requests cancel.
  void call_on_json(int function, const char* json, const char* kind);

  /// Runs `body`, which makes the call, and raises what a Lua function raised meanwhile.
  template <class Body>
  void run(Body&& body) {
    try {
      body();
    } catch (const Failure&) {
      if (callback_failed_) throw LuaRaised{};
      throw;
    }
    if (callback_failed_) throw LuaRaised{};
  }

 private:
  // Calls the C function and its arguments on top of the stack; false if it failed or returned
  // false.
  bool call_back(int n_arguments);

  lua_State* L_;
  std::shared_ptr<State> state_;
  int progress_;
  Handle<okapi_cancel> own_cancel_;
  okapi_cancel* cancel_;
  bool was_requested_ = false;
  bool callback_failed_ = false;
};

/// The token given as option `cancel` at stack index `slot`; null for 0.
okapi_cancel* cancel_option(lua_State* L, int slot);

}  // namespace okapi::lua
