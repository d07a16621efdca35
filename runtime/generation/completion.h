// One output being written: chooses each token from logits and knows when to end. Apart from the
// session, so that a scheduler can drive many of them through one batch.
//
//   Completion completion(model, options);
//   session->prefill(prompt);
//   while (completion.choose(session->logits())) session->decode(completion.ids().back());
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/generation/generate_options.h"
#include "runtime/generation/sampler.h"

namespace okapi {

class Model;
class Tokenizer;

class Completion {
 public:
  /// Throws invalid_argument on options out of range, ids out of range, or stop texts without a
  /// tokenizer.
  Completion(const Model& model, GenerateOptions options);

  /// Chooses the next token from `logits` [V] and applies the stop rules. False once it has ended.
  bool choose(std::span<const float> logits);

  bool has_ended() const { return generation_.stop_reason != StopReason::none; }
  const Generation& generation() const { return generation_; }
  const std::vector<int32_t>& ids() const { return generation_.ids; }
  StopReason stop_reason() const { return generation_.stop_reason; }
  const GenerateOptions& options() const { return options_; }

 private:
  std::string text_added_by_last_token();
  StopReason stop_reason_of(int32_t id) const;

  GenerateOptions options_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<int32_t> eos_ids_;
  Sampler sampler_;
  Generation generation_;
  std::string text_;         ///< of the output so far, whole characters
  size_t text_searched_ = 0; ///< bytes of it that no stop text can begin in any more
};

}  // namespace okapi
