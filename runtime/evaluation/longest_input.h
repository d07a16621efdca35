// What a scheme that follows the tokens so far remembers from one item to the next, where items are
// to be answered as transformers answers them.
//
// Its rotary embedding is made anew when an input is longer than every one before, and goes back
// only for an input within the trained length (modeling_rope_utils.py, dynamic_rope_update). So a
// model object that is asked one prompt after another reads a prompt at the length of the longest
// before it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/evaluation/prompt.h"

namespace okapi {

class LongestInput {
 public:
  explicit LongestInput(int64_t trained_length) : trained_length_(trained_length) {}

  /// Tokens of the longest input before this item's, 0 if it forgets them. Items come in their
  /// order.
  int64_t before(const PreparedItem& item) {
    const auto n = static_cast<int64_t>(item.ids.size());
    if (n < trained_length_) longest_ = 0;
    const int64_t before = longest_;
    // The last token that is chosen is read by nobody.
    longest_ = std::max(longest_, n + std::max<int64_t>(item.item.max_new_tokens - 1, 0));
    return before;
  }

 private:
  int64_t trained_length_;
  int64_t longest_ = 0;
};

}  // namespace okapi
