// Writes the bytes of protobuf messages field by field, right or wrong.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace okapi::test {

inline std::string varint(uint64_t value) {
  std::string bytes;
  while (value >= 0x80) {
    bytes += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  return bytes + static_cast<char>(value);
}

inline std::string tag(uint32_t field, uint32_t wire_type) {
  return varint(field << 3 | wire_type);
}

inline std::string number(uint32_t field, uint64_t value) { return tag(field, 0) + varint(value); }

inline std::string text(uint32_t field, std::string_view value) {
  return tag(field, 2) + varint(value.size()) + std::string(value);
}

inline std::string real(uint32_t field, float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  std::string bytes = tag(field, 5);
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(bits >> (8 * i) & 0xFF);
  return bytes;
}

inline std::string little_endian(uint32_t value) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFF);
  return bytes;
}

}  // namespace okapi::test
