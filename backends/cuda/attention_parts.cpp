#include "backends/cuda/attention_parts.h"

#include <algorithm>
#include <limits>
#include <ranges>

namespace okapi::cuda {

namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

// Blocks run in rounds of as many as fit at once, and of the lengths with which a number of rounds
// suffices the shortest is best.
int64_t tiles_per_part(std::span<const int64_t> n_tiles, int64_t n_kv_heads,
                       const FewAttentionBlocks& blocks) {
  constexpr int64_t kMoreRounds = 3;
  constexpr int64_t kBlockTiles = 3;  // what a block costs beside its tiles
  const auto n_rounds_of = [&](int64_t length) {
    int64_t n_parts = 0;
    for (const int64_t n : n_tiles) n_parts += divide_up(n, length);
    return divide_up(n_parts * n_kv_heads * blocks.per_part, blocks.at_once);
  };
  const int64_t longest = std::max(kLeastPartTiles, *std::ranges::max_element(n_tiles));
  const auto shorter = std::views::iota(kLeastPartTiles, longest);
  const int64_t fewest = n_rounds_of(longest);
  int64_t best = longest;
  int64_t lowest_cost = std::numeric_limits<int64_t>::max();
  for (int64_t n_rounds = fewest; n_rounds <= fewest + kMoreRounds; ++n_rounds) {
    const auto first = std::ranges::partition_point(
        shorter, [&](int64_t length) { return n_rounds_of(length) > n_rounds; });
    const int64_t length = kLeastPartTiles + (first - shorter.begin());
    const int64_t cost = n_rounds * (length + kBlockTiles);
    if (cost >= lowest_cost) continue;
    lowest_cost = cost;
    best = length;
  }
  return best;
}

}  // namespace okapi::cuda
