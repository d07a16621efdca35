// Reading what a script gave: ids, options tables, and who is meant by a name. Nothing here raises
// in Lua; every mistake is a Failure naming the argument or option.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "capi/lua/state.h"

namespace okapi::lua {

/// "a table", "3.5", "'x'", "an okapi.model": what a message says was found.
std::string found_at(lua_State* L, int index);

std::string text_at(lua_State* L, int index, const std::string& name);
int64_t integer_at(lua_State* L, int index, const std::string& name);
double number_at(lua_State* L, int index, const std::string& name);
bool boolean_at(lua_State* L, int index, const std::string& name);

/// A table or an array of token ids.
std::vector<int32_t> ids_at(lua_State* L, int index, const std::string& name);

/// A table or an array of numbers.
std::vector<double> numbers_at(lua_State* L, int index, const std::string& name);

/// A string, or a table of strings.
std::vector<std::string> texts_at(lua_State* L, int index, const std::string& name);

/// One of the words in `choices`, as its value.
int32_t choice(const std::string& word, const std::string& name,
               const std::vector<std::pair<std::string, int32_t>>& choices);

/// An options table: every key must be known. Its values stay on the Lua stack while the binding
/// runs.
class Options {
 public:
  /// The table at `index`, which may be absent or nil. `function` names the caller in messages.
  Options(lua_State* L, int index, std::string function, std::vector<std::string> known);

  bool has(std::string_view key) const { return slot(key) != 0; }

  /// Stack index of a value; 0 if it was not given.
  int slot(std::string_view key) const;

  std::optional<std::string> text(const std::string& key) const;
  std::string required_text(const std::string& key) const;
  std::optional<int64_t> integer(const std::string& key) const;
  std::optional<double> number(const std::string& key) const;
  bool boolean(const std::string& key, bool absent) const;

  /// Stack index of a function; 0 if it was not given (or is false).
  int function(const std::string& key) const;

  /// Throws unless the key was given.
  void require(const std::string& key) const;

 private:
  lua_State* L_;
  std::string function_;
  std::vector<std::pair<std::string, int>> slots_;
};

}  // namespace okapi::lua
