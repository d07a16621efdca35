// How the keys of sequences with few queries are cut into parts, each of which a block has. What a
// sequence gets by itself is part_keys() in attention.h.
#pragma once

#include <cstdint>
#include <span>

namespace okapi::cuda {

/// A part is whole tiles of so many keys, at least so many tiles.
constexpr int kPartTile = 64;
constexpr int64_t kLeastPartTiles = 2;

/// For a kv head and part of the keys of a sequence there are so many blocks, and so many run at
/// once.
struct FewAttentionBlocks {
  int64_t per_part = 0;
  int64_t at_once = 0;
};

/// `most_rows`: queries of a sequence times query heads that share a kv head. Asks the driver.
FewAttentionBlocks few_attention_blocks(int64_t head_dim, int64_t most_rows, int n_processors);

/// Tiles per part of all sequences of a batch, which have `n_tiles` each, such that the blocks of
/// the launch are through soonest.
int64_t tiles_per_part(std::span<const int64_t> n_tiles, int64_t n_kv_heads,
                       const FewAttentionBlocks& blocks);

}  // namespace okapi::cuda
