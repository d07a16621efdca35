// Seeded random numbers, the same on every machine and with every compiler.
//
// Counter-based: draw i of (seed, stream) is a function of the three alone (SplitMix64: a counter
// times an odd constant, mixed). Standard distributions are left out on purpose: their algorithms
// differ between standard libraries.
//
//   Random random(seed, /*stream=*/sample_index);
//   int64_t asked = random.uniform_int(0, n_lines - 1);
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace okapi {

class Random {
 public:
  explicit Random(uint64_t seed, uint64_t stream = 0)
      : key_(mix(seed + kStep) ^ mix(mix(stream + kStep) + kStep)) {}

  /// 64 random bits.
  uint64_t next() { return mix(key_ + kStep * ++counter_); }

  /// In [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

  /// In [low, high], each equally likely. Requires low <= high.
  int64_t uniform_int(int64_t low, int64_t high) {
    const uint64_t span = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1;
    if (span == 0) return static_cast<int64_t>(next());  // the whole range

    // Draws below 2^64 mod span would favour small values: they are drawn again.
    const uint64_t unfair = (0 - span) % span;
    uint64_t draw = next();
    while (draw < unfair) draw = next();
    return static_cast<int64_t>(static_cast<uint64_t>(low) + draw % span);
  }

  /// Every order equally likely (Fisher and Yates).
  template <typename T>
  void shuffle(std::span<T> values) {
    for (size_t left = values.size(); left > 1; --left) {
      const auto other = static_cast<size_t>(uniform_int(0, static_cast<int64_t>(left) - 1));
      using std::swap;
      swap(values[left - 1], values[other]);
    }
  }

  /// How many draws were taken; save it with seed and stream to go on later.
  uint64_t counter() const { return counter_; }
  void seek(uint64_t counter) { counter_ = counter; }

 private:
  static constexpr uint64_t kStep = 0x9E3779B97F4A7C15;  // 2^64 over the golden ratio, odd

  // The finalizer of SplitMix64 (Steele, Lea and Flood 2014).
  static constexpr uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

  uint64_t key_;
  uint64_t counter_ = 0;
};

}  // namespace okapi
