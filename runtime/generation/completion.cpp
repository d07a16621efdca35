#include "runtime/generation/completion.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/model/model.h"

namespace okapi {

namespace {

Error bad_generate_option(const char* field, const std::string& message) {
  return Error(Code::invalid_argument, std::string(field) + ": " + message)
      .in("generate")
      .field(field);
}

bool is_among(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

void check_options(const Model& model, const GenerateOptions& options) {
  if (options.max_tokens < 1) throw bad_generate_option("max_tokens", "must be at least 1");
  if (options.min_tokens < 0 || options.min_tokens > options.max_tokens) {
    throw bad_generate_option("min_tokens", "must be between 0 and max_tokens");
  }
  for (const int32_t id : options.stop_ids) {
    if (id < 0 || id >= model.config().vocab_size) {
      throw bad_generate_option("stop_ids", std::to_string(id) + " is not in [0, " +
                                                std::to_string(model.config().vocab_size) + ")");
    }
  }
  for (const std::string& text : options.stop_texts) {
    if (text.empty()) throw bad_generate_option("stop_texts", "one of them is empty");
  }
  if (!options.stop_texts.empty() && !model.tokenizer()) {
    throw Error(Code::failed_precondition, "stop_texts: the model has no tokenizer")
        .in("generate")
        .field("stop_texts");
  }
}

}  // namespace

Completion::Completion(const Model& model, GenerateOptions options)
    : options_(std::move(options)),
      sampler_({options_.temperature, options_.top_k, options_.top_p, options_.seed}) {
  check_options(model, options_);
  if (!options_.ignore_eos) eos_ids_ = model.config().eos_ids;
  const bool text_is_read = options_.on_token || !options_.stop_texts.empty();
  if (text_is_read && model.tokenizer()) stream_.emplace(model.tokenizer());
  generation_.ids.reserve(static_cast<size_t>(std::min<int64_t>(options_.max_tokens, 4096)));
}

bool Completion::completes_stop_text(size_t n_new) const {
  return std::any_of(options_.stop_texts.begin(), options_.stop_texts.end(),
                     [&](const std::string& stop) {
                       if (text_.size() < stop.size()) return false;
                       const size_t n_searched = std::min(text_.size(), n_new + stop.size() - 1);
                       return text_.find(stop, text_.size() - n_searched) != std::string::npos;
                     });
}

StopReason Completion::rule_that_holds(int32_t id, size_t n_new_bytes) const {
  const auto n = static_cast<int64_t>(generation_.ids.size());
  if (n >= options_.min_tokens) {
    if (is_among(eos_ids_, id)) return StopReason::eos;
    if (is_among(options_.stop_ids, id)) return StopReason::id;
    if (n_new_bytes > 0 && completes_stop_text(n_new_bytes)) return StopReason::text;
  }
  return n == options_.max_tokens ? StopReason::length : StopReason::none;
}

std::span<const int32_t> Completion::forbidden() const {
  const bool eos_is_early = static_cast<int64_t>(generation_.ids.size()) < options_.min_tokens;
  return eos_is_early ? std::span<const int32_t>(eos_ids_) : std::span<const int32_t>();
}

SampleRule Completion::next_rule() { return sampler_.next_rule(forbidden()); }

bool Completion::choose(std::span<const float> logits) {
  return !has_ended() && take(sampler_.choose(logits, forbidden()));
}

bool Completion::take(int32_t id) {
  generation_.ids.push_back(Sampler::checked(id));
  std::string added;
  if (stream_) {
    added = stream_->add(id);
    text_ += added;
  }
  generation_.stop_reason = rule_that_holds(id, added.size());
  if (options_.on_token && !options_.on_token(id, added) && !has_ended()) {
    generation_.stop_reason = StopReason::callback;
  }
  return !has_ended();
}

}  // namespace okapi
