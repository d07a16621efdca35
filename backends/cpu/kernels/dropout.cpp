// Dropout by a hash of the element's index: no state, any order, the same choice on the way back.
#include "backends/cpu/kernels/declare.h"
#include "backends/cpu/kernels/simd.h"

namespace okapi::cpu::OKAPI_CPU_ISA {
namespace {

/// A bijection of 32 bits with full avalanche: xor-shifts and multiplications (Wellons 2018, "hash
/// prospector").
inline Words mixed(Words x) {
  x = (x ^ (x >> 16)) * 0x7FEB352DU;
  x = (x ^ (x >> 15)) * 0x846CA68BU;
  return x ^ (x >> 16);
}

inline Words lane_numbers() {
  Words numbers = {};
  for (int lane = 0; lane < kLanes; ++lane) numbers[lane] = static_cast<uint32_t>(lane);
  return numbers;
}

inline Floats kept(Floats x, uint64_t index, const DropoutMask& mask) {
  const Words numbers = lane_numbers();
  const Words low = numbers + static_cast<uint32_t>(index);
  const Words carried = low < numbers ? Words{} + 1U : Words{};  // where the sum wrapped around
  const Words high = carried + static_cast<uint32_t>(index >> 32);
  const Words hash = mixed(mixed(low ^ mask.key_low) + high * 0x9E3779B9U + mask.key_high);
  return hash >= mask.first_kept ? x * mask.scale : Floats{};
}

}  // namespace

void dropout(const float* from, float* to, int64_t n, int64_t first_index,
             const DropoutMask& mask) {
  const auto first = static_cast<uint64_t>(first_index);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    store(to + i, kept(load(from + i), first + static_cast<uint64_t>(i), mask));
  }
  if (i < n) {
    Floats last = {};
    for (int lane = 0; lane < n - i; ++lane) last[lane] = from[i + lane];
    last = kept(last, first + static_cast<uint64_t>(i), mask);
    for (int lane = 0; lane < n - i; ++lane) to[i + lane] = last[lane];
  }
}

}  // namespace okapi::cpu::OKAPI_CPU_ISA
