#include "backends/cuda/attention_parts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace okapi::cuda {
namespace {

int64_t rounds_of(const std::vector<int64_t>& n_tiles, int64_t n_kv_heads,
                  const FewAttentionBlocks& blocks, int64_t length) {
  int64_t n_blocks = 0;
  for (const int64_t n : n_tiles) {
    for (int64_t first = 0; first < n; first += length) n_blocks += n_kv_heads * blocks.per_part;
  }
  int64_t n_rounds = 0;
  for (; n_blocks > 0; n_blocks -= blocks.at_once) ++n_rounds;
  return n_rounds;
}

// 16 sequences of 4096 keys and a few more, 4 kv heads, on 132 multiprocessors that take 4 blocks.
TEST(AttentionParts, ABatchFillsTheDeviceOnce) {
  const std::vector<int64_t> n_tiles(16, 65);
  const FewAttentionBlocks blocks{1, 528};
  EXPECT_EQ(tiles_per_part(n_tiles, 4, blocks), 9);
  EXPECT_EQ(rounds_of(n_tiles, 4, blocks, 9), 1);
}

TEST(AttentionParts, ShortSequencesKeepTheLeastPart) {
  EXPECT_EQ(tiles_per_part(std::vector<int64_t>{1, 1}, 8, {1, 264}), kLeastPartTiles);
  EXPECT_EQ(tiles_per_part(std::vector<int64_t>{3, 1}, 1, {1, 528}), kLeastPartTiles);
}

// One long sequence beside many short ones is what everyone waits for: it is cut.
TEST(AttentionParts, ALongSequenceIsCutBesideShortOnes) {
  std::vector<int64_t> n_tiles(15, 2);
  n_tiles.push_back(512);
  const int64_t length = tiles_per_part(n_tiles, 4, {1, 528});
  EXPECT_EQ(rounds_of(n_tiles, 4, {1, 528}, length), 1);
  EXPECT_LT(length, 10);
}

// No length at all is cheaper: a round of blocks costs a part's tiles and three more.
TEST(AttentionParts, NoLengthIsCheaper) {
  std::mt19937 random(7);
  const auto pick = [&](int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
  };
  for (int i = 0; i < 300; ++i) {
    std::vector<int64_t> n_tiles(static_cast<size_t>(pick(2, 32)));
    for (int64_t& n : n_tiles) n = pick(1, i % 3 == 0 ? 300 : 40);
    const int64_t n_kv_heads = pick(1, 32);
    const FewAttentionBlocks blocks{pick(1, 2), pick(1, 600)};
    const auto cost_of = [&](int64_t length) {
      return rounds_of(n_tiles, n_kv_heads, blocks, length) * (length + 3);
    };
    const int64_t longest = std::max(kLeastPartTiles, *std::ranges::max_element(n_tiles));
    const int64_t fewest = rounds_of(n_tiles, n_kv_heads, blocks, longest);
    const int64_t chosen = tiles_per_part(n_tiles, n_kv_heads, blocks);
    ASSERT_GE(chosen, kLeastPartTiles);
    ASSERT_LE(chosen, longest);
    for (int64_t length = kLeastPartTiles; length <= longest; ++length) {
      if (rounds_of(n_tiles, n_kv_heads, blocks, length) > fewest + 3) continue;
      EXPECT_LE(cost_of(chosen), cost_of(length)) << length << " instead of " << chosen;
    }
  }
}

}  // namespace
}  // namespace okapi::cuda
