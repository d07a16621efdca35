#include "capi/lua/arguments.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "capi/lua/array.h"
#include "capi/lua/suggestion.h"

namespace okapi::lua {

using api::invalid;

static Failure wrong_type(lua_State* L, int index, const std::string& name, const char* wanted) {
  return invalid(name + ": wanted " + wanted + ", found " + found_at(L, index), name);
}

// What the metatable calls its objects, as "okapi.model", or "". Looked for without making the key,
// which might raise.
static std::string name_of_kind(lua_State* L, int index) {
  need_stack(L, 3);
  if (!lua_getmetatable(L, index)) return "";
  const int metatable = lua_gettop(L);
  std::string name;
  for (lua_pushnil(L); name.empty() && lua_next(L, metatable) != 0; lua_pop(L, 1)) {
    const bool is_name = lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING &&
                         std::string_view(lua_tostring(L, -2)) == "__name";
    if (is_name) name = lua_tostring(L, -1);
  }
  lua_settop(L, metatable - 1);
  return name;
}

std::string found_at(lua_State* L, int index) {
  switch (lua_type(L, index)) {
    case LUA_TNONE:
    case LUA_TNIL:
      return "nothing";
    case LUA_TBOOLEAN:
      return lua_toboolean(L, index) ? "true" : "false";
    case LUA_TSTRING: {
      size_t size = 0;
      const char* text = lua_tolstring(L, index, &size);
      constexpr size_t kShown = 60;
      std::string shown(1, '\'');
      return shown.append(text, std::min(size, kShown)).append(size > kShown ? "...'" : "'");
    }
    case LUA_TNUMBER: {
      if (lua_isinteger(L, index)) return std::to_string(lua_tointeger(L, index));
      char buffer[32];
      std::snprintf(buffer, sizeof buffer, "%.14g", lua_tonumber(L, index));
      return buffer;
    }
    default: {
      const std::string name = name_of_kind(L, index);
      if (name.starts_with("okapi.")) return "an " + name;
      return std::string("a ") + luaL_typename(L, index);
    }
  }
}

std::string text_at(lua_State* L, int index, const std::string& name) {
  if (lua_type(L, index) != LUA_TSTRING) throw wrong_type(L, index, name, "a string");
  size_t size = 0;
  const char* text = lua_tolstring(L, index, &size);
  return {text, size};
}

int64_t integer_at(lua_State* L, int index, const std::string& name) {
  int is_integer = 0;
  const lua_Integer value = lua_tointegerx(L, index, &is_integer);
  if (lua_type(L, index) != LUA_TNUMBER || !is_integer)
    throw wrong_type(L, index, name, "an integer");
  return value;
}

double number_at(lua_State* L, int index, const std::string& name) {
  if (lua_type(L, index) != LUA_TNUMBER) throw wrong_type(L, index, name, "a number");
  return lua_tonumber(L, index);
}

bool boolean_at(lua_State* L, int index, const std::string& name) {
  if (lua_type(L, index) != LUA_TBOOLEAN) throw wrong_type(L, index, name, "true or false");
  return lua_toboolean(L, index) != 0;
}

// Reads entry after entry of a table or an array.
template <class Visit>
static void for_each_entry(lua_State* L, int index, const std::string& name, const char* wanted,
                           Visit visit) {
  if (lua_type(L, index) != LUA_TTABLE) throw wrong_type(L, index, name, wanted);
  index = lua_absindex(L, index);
  need_stack(L, 2);
  const auto n = static_cast<int64_t>(lua_rawlen(L, index));
  for (int64_t i = 1; i <= n; ++i) {
    lua_rawgeti(L, index, i);
    visit(-1, name + "[" + std::to_string(i) + "]");
    lua_pop(L, 1);
  }
}

static int32_t checked_id(double value, const std::string& name) {
  if (value != std::floor(value) || value < std::numeric_limits<int32_t>::min() ||
      value > std::numeric_limits<int32_t>::max()) {
    throw invalid(name + ": wanted a token id, found " + std::to_string(value), name);
  }
  return static_cast<int32_t>(value);
}

std::vector<int32_t> ids_at(lua_State* L, int index, const std::string& name) {
  std::vector<int32_t> ids;
  if (const Array* array = find_array(L, index)) {
    for (int64_t i = 0; i < array->size; ++i) {
      ids.push_back(checked_id(array->get(i), name + "[" + std::to_string(i + 1) + "]"));
    }
    return ids;
  }
  for_each_entry(L, index, name, "a table or an array of token ids",
                 [&](int entry, const std::string& entry_name) {
                   ids.push_back(checked_id(static_cast<double>(integer_at(L, entry, entry_name)),
                                            entry_name));
                 });
  return ids;
}

std::vector<double> numbers_at(lua_State* L, int index, const std::string& name) {
  std::vector<double> numbers;
  if (const Array* array = find_array(L, index)) {
    for (int64_t i = 0; i < array->size; ++i) numbers.push_back(array->get(i));
    return numbers;
  }
  for_each_entry(L, index, name, "a table or an array of numbers",
                 [&](int entry, const std::string& entry_name) {
                   numbers.push_back(number_at(L, entry, entry_name));
                 });
  return numbers;
}

std::vector<std::string> texts_at(lua_State* L, int index, const std::string& name) {
  if (lua_type(L, index) == LUA_TSTRING) return {text_at(L, index, name)};
  std::vector<std::string> texts;
  for_each_entry(L, index, name, "a string or a table of strings",
                 [&](int entry, const std::string& entry_name) {
                   texts.push_back(text_at(L, entry, entry_name));
                 });
  return texts;
}

int32_t choice(const std::string& word, const std::string& name,
               const std::vector<std::pair<std::string, int32_t>>& choices) {
  std::vector<std::string> words;
  for (const auto& [known, value] : choices) {
    if (known == word) return value;
    words.push_back(known);
  }
  throw invalid(api::unknown_word_message(name, word, words), name);
}

Options::Options(lua_State* L, int index, std::string function, std::vector<std::string> known)
    : L_(L), function_(std::move(function)) {
  if (lua_isnoneornil(L, index)) return;
  if (lua_type(L, index) != LUA_TTABLE) {
    throw invalid(function_ + ": wanted a table of options, found " + found_at(L, index));
  }
  index = lua_absindex(L, index);
  need_stack(L, static_cast<int>(known.size()) + 4);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      throw invalid(function_ + ": options have names, found the key " + found_at(L, -2));
    }
    const std::string key = lua_tostring(L, -2);
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      throw invalid(function_ + ": " + api::unknown_word_message("option", key, known), key);
    }
    lua_insert(L, -2);  // the value stays below, lua_next takes the key
    slots_.emplace_back(key, lua_gettop(L) - 1);
  }
}

int Options::slot(std::string_view key) const {
  for (const auto& [name, index] : slots_) {
    if (name == key) return index;
  }
  return 0;
}

std::optional<std::string> Options::text(const std::string& key) const {
  const int index = slot(key);
  if (index == 0) return std::nullopt;
  return text_at(L_, index, key);
}

std::string Options::required_text(const std::string& key) const {
  require(key);
  return *text(key);
}

std::optional<int64_t> Options::integer(const std::string& key) const {
  const int index = slot(key);
  if (index == 0) return std::nullopt;
  return integer_at(L_, index, key);
}

std::optional<double> Options::number(const std::string& key) const {
  const int index = slot(key);
  if (index == 0) return std::nullopt;
  return number_at(L_, index, key);
}

bool Options::boolean(const std::string& key, bool absent) const {
  const int index = slot(key);
  return index == 0 ? absent : boolean_at(L_, index, key);
}

int Options::function(const std::string& key) const {
  const int index = slot(key);
  if (index == 0 || (lua_isboolean(L_, index) && !lua_toboolean(L_, index))) return 0;
  if (lua_type(L_, index) != LUA_TFUNCTION) throw wrong_type(L_, index, key, "a function");
  return index;
}

void Options::require(const std::string& key) const {
  if (!has(key)) throw invalid(function_ + ": option '" + key + "' is missing", key);
}

}  // namespace okapi::lua
