// Holds what okapi generates on golden/lines against what transformers generated.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/generation/completion.h"
#include "runtime/model/model.h"

namespace okapi::test {

struct LinesResult {
  int n_checked = 0;    ///< prompts whose smallest gap leaves no doubt
  int n_different = 0;  ///< of these, how many got other tokens
  std::string first_difference;
  int n_correct = 0;
  int n_prompts = 0;
  std::map<int64_t, int> more_correct;  ///< by length: than transformers had right; negative: fewer
};

/// Generates 8 tokens for every `stride`-th prompt of at most `longest` tokens, several at a time.
/// `answers` is one setting of answers.*.json. `by_length_seen`: the scheme depends on the length,
/// and transformers remembered the longest input.
LinesResult check_lines(const std::shared_ptr<const Model>& model, const Json& answers,
                        const std::string& spec, bool by_length_seen, int64_t longest,
                        size_t stride);

/// okapi's words for a setting's rope.
std::string lines_spec(const Json& rope);

}  // namespace okapi::test
