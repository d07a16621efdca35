// A Lua interpreter with the `okapi` module in it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <lua.hpp>

#include "capi/cli/command.h"

namespace okapi::cli {

class LuaHost {
 public:
  /// The runtime that scripts use by default is made from `runtime` when they first need one.
  explicit LuaHost(const RuntimeArguments& runtime);
  ~LuaHost();
  LuaHost(const LuaHost&) = delete;
  LuaHost& operator=(const LuaHost&) = delete;

  lua_State* state() { return L_; }

  /// Sets the global `arg`: arg[0] is the script, arg[1] its first argument.
  void set_arguments(const std::string& script, const std::vector<std::string>& arguments);

  /// Calls the function and its arguments on top of the stack. On failure prints `okapi: message`
  /// with a traceback and returns kExitFailure, or kExitInterrupted after Ctrl-C.
  int call(int n_arguments, int n_results);

 private:
  lua_State* L_;
};

}  // namespace okapi::cli
