// A seeded order of 0 .. n-1 that takes no memory: number to place, and no two to the same.
//
// A Feistel network over the smallest power of four that holds n (so it is one to one whatever its
// rounds do), walked on while it leaves the range.
#pragma once

#include <bit>
#include <cstdint>

#include "runtime/base/random.h"

namespace okapi {

class Permutation {
 public:
  Permutation(int64_t n, uint64_t seed, uint64_t stream)
      : n_(static_cast<uint64_t>(n)),
        half_bits_((std::bit_width(n_ > 1 ? n_ - 1 : 1) + 1) / 2),
        mask_((uint64_t{1} << half_bits_) - 1) {
    Random random(seed, stream);
    for (uint64_t& key : keys_) key = random.next();
  }

  int64_t count() const { return static_cast<int64_t>(n_); }

  /// Requires 0 <= index < n.
  int64_t operator()(int64_t index) const {
    auto at = static_cast<uint64_t>(index);
    do at = step(at);
    while (at >= n_);
    return static_cast<int64_t>(at);
  }

 private:
  static constexpr int kRounds = 6;

  uint64_t step(uint64_t at) const {
    uint64_t left = at >> half_bits_;
    uint64_t right = at & mask_;
    for (const uint64_t key : keys_) {
      const uint64_t next = left ^ (Random(key, right).next() & mask_);
      left = right;
      right = next;
    }
    return left << half_bits_ | right;
  }

  uint64_t n_;
  int half_bits_;
  uint64_t mask_;
  uint64_t keys_[kRounds];
};

}  // namespace okapi
