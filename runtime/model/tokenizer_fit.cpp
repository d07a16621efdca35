#include "runtime/model/tokenizer_fit.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace okapi {

namespace {

[[noreturn]] void refuse(const std::string& field, const std::string& problem,
                         const Tokenizer& tokenizer) {
  throw Error(Code::invalid_argument, field + ": " + problem)
      .in("model")
      .field(field)
      .at(tokenizer.path());
}

}  // namespace

std::vector<std::string> check_tokenizer_fits(const ModelConfig& config,
                                              const Tokenizer& tokenizer) {
  if (tokenizer.vocab_size() > config.vocab_size) {
    refuse("vocab_size",
           "the tokenizer has " + std::to_string(tokenizer.vocab_size()) +
               " pieces, the model's embedding " + std::to_string(config.vocab_size),
           tokenizer);
  }
  if (config.bos_id >= 0 && tokenizer.bos_id() < 0) {
    refuse("bos_token_id",
           "the configuration names " + std::to_string(config.bos_id) +
               ", the tokenizer has no beginning-of-text piece",
           tokenizer);
  }
  if (!config.eos_ids.empty() && tokenizer.eos_id() < 0) {
    refuse("eos_token_id",
           "the configuration names " + std::to_string(config.eos_id) +
               ", the tokenizer has no end-of-text piece",
           tokenizer);
  }

  std::vector<std::string> notes;
  if (config.bos_id >= 0 && config.bos_id != tokenizer.bos_id()) {
    notes.push_back("bos_token_id is " + std::to_string(config.bos_id) +
                    " in the configuration and " + std::to_string(tokenizer.bos_id()) +
                    " in the tokenizer, which is used");
  }
  const auto& eos_ids = config.eos_ids;
  if (!eos_ids.empty() &&
      std::find(eos_ids.begin(), eos_ids.end(), tokenizer.eos_id()) == eos_ids.end()) {
    notes.push_back("eos_token_id of the configuration, which ends texts, lacks the tokenizer's " +
                    std::to_string(tokenizer.eos_id()));
  }
  return notes;
}

}  // namespace okapi
