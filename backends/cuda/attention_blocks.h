// How attention of few queries is spread over a device.
#pragma once

#include <cstdint>

namespace okapi::cuda {

/// For a kv head and part of the keys of a sequence there are so many blocks, and so many run at
/// once.
struct FewAttentionBlocks {
  int64_t per_part = 0;
  int64_t at_once = 0;
};

/// `most_rows`: queries of a sequence times query heads that share a kv head. Asks the driver.
FewAttentionBlocks few_attention_blocks(int64_t head_dim, int64_t most_rows, int n_processors);

}  // namespace okapi::cuda
