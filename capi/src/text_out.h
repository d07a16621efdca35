// Text and ids on their way out, into buffers of the caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "runtime/base/json.h"

namespace okapi::capi {

/// Copies text and a NUL as <okapi/api.h> says. A text cut short ends with a whole UTF-8 character.
/// Throws out_of_range naming `buffer` if it is too small, invalid_argument if it is NULL but has a
/// capacity.
void copy_text(std::string_view text, char* buffer, size_t capacity, size_t* needed);

/// Copies the JSON text. Strings that are not UTF-8 (a plugin's, or a model's output cut within a
/// character) have U+FFFD in place of the bytes at fault, so that the whole stays readable.
void copy_json(const Json& json, char* buffer, size_t capacity, size_t* needed);

/// Copies ids, with the same rules; *count (may be NULL) is how many there are.
void copy_ids(std::span<const int32_t> values, const char* name, int32_t* out, size_t capacity,
              size_t* count);

/// Parameters of a plugin from a caller: an object, empty for NULL and "".
Json parse_parameters(const char* text, const char* name);

}  // namespace okapi::capi
