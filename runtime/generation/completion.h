// One output being written: chooses each token from logits and knows when to end. Apart from the
// session, so that a scheduler can drive many of them through one batch.
//
//   Completion completion(model, options);
//   session->prefill(prompt);
//   while (completion.choose(session->logits())) session->decode(completion.ids().back());
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/generation/generate_options.h"
#include "runtime/generation/sampler.h"
#include "runtime/generation/text_stream.h"

namespace okapi {

class Model;

class Completion {
 public:
  /// Throws invalid_argument on options out of range, failed_precondition on stop texts without a
  /// tokenizer.
  Completion(const Model& model, GenerateOptions options);

  /// Chooses the next token from `logits` [V] and applies the stop rules. False once it has ended.
  bool choose(std::span<const float> logits);

  /// The same in two steps, for who chooses on the device: how the next token is to be chosen, good
  /// until it is taken; and the id that was.
  SampleRule next_rule();
  bool take(int32_t id);

  bool has_ended() const { return generation_.stop_reason != StopReason::none; }
  const Generation& generation() const { return generation_; }
  const std::vector<int32_t>& ids() const { return generation_.ids; }
  StopReason stop_reason() const { return generation_.stop_reason; }
  const GenerateOptions& options() const { return options_; }

 private:
  /// Whether a stop text ends within the `n_new` last bytes of the text.
  bool completes_stop_text(size_t n_new) const;
  std::span<const int32_t> forbidden() const;
  StopReason rule_that_holds(int32_t id, size_t n_new_bytes) const;

  GenerateOptions options_;
  std::vector<int32_t> eos_ids_;  ///< none if they are ignored
  Sampler sampler_;
  std::optional<TextStream> stream_;  ///< where somebody reads the text
  std::string text_;                  ///< of the output so far
  Generation generation_;
};

}  // namespace okapi
