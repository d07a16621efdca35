// The two 16-bit floats widened, on the host.
#pragma once

#include <bit>
#include <cstdint>

namespace okapi {

inline float float_of_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline float float_of_f16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000U) << 16;
  const uint32_t magnitude = bits & 0x7FFFU;
  if (magnitude >= 0x7C00U) {  // infinity or NaN: the exponent becomes all ones
    return std::bit_cast<float>(sign | 0x7F800000U | (magnitude & 0x3FFU) << 13);
  }
  // Multiplying moves the exponent's bias from 15 to 127, and normalises what is subnormal in f16.
  constexpr float kBias = 0x1p112F;
  return std::bit_cast<float>(
      sign | std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude << 13) * kBias));
}

}  // namespace okapi
