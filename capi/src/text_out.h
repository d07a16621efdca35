// Text and ids on their way out, into buffers of the caller.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "runtime/base/json.h"

namespace okapi::capi {

/// Throws invalid_argument naming a buffer that is NULL but has a capacity.
void check_buffer(const void* out, size_t capacity, const char* name);

/// Throws out_of_range naming a buffer that is too small.
[[noreturn]] void refuse_capacity(const char* name, const char* unit, size_t wanted,
                                  size_t capacity);

/// Copies text and a NUL as <okapi/api.h> says. A text cut short ends with a whole UTF-8 character.
/// Throws out_of_range naming `buffer` if it is too small, invalid_argument if it is NULL but has a
/// capacity.
void copy_text(std::string_view text, char* buffer, size_t capacity, size_t* needed);

/// Copies the JSON text. Strings that are not UTF-8 (a plugin's, or a model's output cut within a
/// character) have U+FFFD in place of the bytes at fault, so that the whole stays readable.
template <typename AnyJson>
void copy_json(const AnyJson& json, char* buffer, size_t capacity, size_t* needed) {
  copy_text(json.dump(-1, ' ', false, AnyJson::error_handler_t::replace), buffer, capacity, needed);
}

/// Copies ids or numbers, with the same rules; *count (may be NULL) is how many there are.
template <typename T>
void copy_array(std::span<const T> values, const char* name, T* out, size_t capacity,
                size_t* count) {
  check_buffer(out, capacity, name);
  if (count != nullptr) *count = values.size();
  if (out == nullptr) return;
  std::copy_n(values.begin(), std::min(values.size(), capacity), out);
  if (values.size() > capacity) refuse_capacity(name, "elements", values.size(), capacity);
}

/// JSON text that is an argument. Throws invalid_argument naming it on text that is not JSON.
Json parse_json_argument(const char* text, const char* name);

/// Parameters of a plugin: an object, empty for NULL and "".
Json parse_parameters(const char* text, const char* name);

}  // namespace okapi::capi
