// An item of a task as the model sees it: the exact ids, and how its output ends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/generation/generate_options.h"
#include "runtime/plugin_host/task_plugin.h"

namespace okapi {

class Tokenizer;

struct PreparedItem {
  int64_t index = 0;
  TaskItem item;
  std::string prompt;             ///< the bytes of its text parts, in order
  std::vector<int32_t> ids;       ///< [n] with BOS, as the item's rule says
  int64_t least_rope_length = 0;  ///< see SessionOptions

  /// Tokens it takes in all: prompt and output.
  int64_t n_tokens_in_all() const { return static_cast<int64_t>(ids.size()) + item.max_new_tokens; }
};

/// Encodes the parts one by one and joins them. Throws invalid_argument when the prompt brings its
/// own beginning of sequence, as text or as an id: two of them, or one spelled out, is a known way
/// to get numbers that mean nothing. failed_precondition when the rule wants one that the tokenizer
/// lacks.
PreparedItem prepare_item(int64_t index, TaskItem item, const Tokenizer& tokenizer);

/// Greedy, with the item's budget and stop rules.
GenerateOptions generate_options(const TaskItem& item);

/// The tokenizer as plugins see it.
std::shared_ptr<const TokenizerFunctions> tokenizer_functions(
    const std::shared_ptr<const Tokenizer>& tokenizer);

}  // namespace okapi
