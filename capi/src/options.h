// Versioned structs of the caller. They may be older or newer than this library.
//
//   const auto o = read_struct<okapi_model_options>(given, "options", "OKAPI_MODEL_OPTIONS_INIT");
//   check_boolean(o.without_tokenizer, "options.without_tokenizer");
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>

#include "capi/src/guard.h"

namespace okapi::capi {

/// Throws invalid_argument unless `size` can be the size of a struct that begins with struct_size
/// and ends, in an older version, at one of `ends`; and unless what it has beyond `known` bytes is
/// zero.
void check_struct(const void* given, uint32_t size, uint32_t known, std::span<const uint32_t> ends,
                  const char* name, const char* init);

void check_boolean(uint8_t value, const char* name);
void check_reserved(std::span<const uint8_t> bytes, const char* name);
void check_range(int64_t value, int64_t low, int64_t high, const char* name);

/// Where the fields of a public struct end, in order: OKAPI_STRUCT_SIZE of each. The last is the
/// size this library knows.
template <typename T>
struct FieldEnds;

/// A copy of the caller's struct, with zero, the default, in every field it does not have.
template <typename T>
T read_struct(const T* given, const char* name, const char* init) {
  static_assert(std::is_trivially_copyable_v<T> && offsetof(T, struct_size) == 0);
  T copy{};
  if (given == nullptr) return copy;
  uint32_t size = 0;
  std::memcpy(&size, given, sizeof size);
  const std::span<const uint32_t> ends(FieldEnds<T>::kEnds);
  check_struct(given, size, ends.back(), ends, name, init);
  std::memcpy(static_cast<void*>(&copy), given, std::min(size, ends.back()));
  copy.struct_size = ends.back();
  return copy;
}

/// Fills a struct of the caller up to the size it has, which the caller has set. What a larger one
/// has beyond is left alone.
template <typename T>
void write_struct(T filled, T* out, const char* name, const char* init) {
  require(out, name);
  uint32_t size = 0;
  std::memcpy(&size, out, sizeof size);
  const std::span<const uint32_t> ends(FieldEnds<T>::kEnds);
  check_struct(nullptr, size, ends.back(), ends, name, init);
  filled.struct_size = size;
  std::memcpy(static_cast<void*>(out), &filled, std::min(size, ends.back()));
}

}  // namespace okapi::capi
