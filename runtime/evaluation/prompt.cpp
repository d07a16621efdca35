#include "runtime/evaluation/prompt.h"

#include <utility>

#include "runtime/base/error.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

namespace {

bool adds_bos(const TaskItem& item, const Tokenizer& tokenizer) {
  const bool has_one = tokenizer.bos_id() >= 0;
  if (item.bos == OKAPI_BOS_ADD && !has_one) {
    throw Error(
        Code::failed_precondition,
        "item " + item.key + ": wants a beginning-of-sequence token, the tokenizer has none")
        .in("evaluation")
        .field("bos");
  }
  return item.bos != OKAPI_BOS_NONE && has_one;
}

void refuse_second_bos(const PreparedItem& prepared, bool adds, const Tokenizer& tokenizer) {
  if (tokenizer.bos_id() < 0) return;
  const std::string spelled = tokenizer.piece(tokenizer.bos_id());
  const size_t first = adds ? 1 : 0;
  const bool is_spelled = !spelled.empty() && prepared.prompt.starts_with(spelled);
  const bool is_doubled =
      prepared.ids.size() > first && prepared.ids[first] == tokenizer.bos_id() && adds;
  if (!is_spelled && !is_doubled) return;
  throw Error(Code::invalid_argument,
              "item " + prepared.item.key + ": the prompt begins with " + spelled +
                  (is_spelled ? " as text; leave it to the rule for the beginning of sequence"
                              : ", which is put before it as well"))
      .in("evaluation")
      .field("prompt");
}

}  // namespace

PreparedItem prepare_item(int64_t index, TaskItem item, const Tokenizer& tokenizer) {
  PreparedItem prepared;
  prepared.index = index;
  const bool adds = adds_bos(item, tokenizer);
  if (adds) prepared.ids.push_back(tokenizer.bos_id());
  for (const TaskItemPart& part : item.parts) {
    prepared.prompt += part.text;
    const std::vector<int32_t> ids = part.is_ids ? part.ids : tokenizer.encode(part.text, false);
    prepared.ids.insert(prepared.ids.end(), ids.begin(), ids.end());
  }
  prepared.item = std::move(item);
  if (prepared.ids.empty()) {
    throw Error(Code::invalid_argument, "item " + prepared.item.key + ": the prompt is empty")
        .in("evaluation")
        .field("prompt");
  }
  refuse_second_bos(prepared, adds, tokenizer);
  return prepared;
}

GenerateOptions generate_options(const TaskItem& item) {
  GenerateOptions options;
  options.max_tokens = item.max_new_tokens;
  options.min_tokens = item.min_new_tokens;
  options.ignore_eos = item.ignores_eos;
  options.stop_ids = item.stop_ids;
  options.stop_texts = item.stop_texts;
  return options;
}

std::shared_ptr<const TokenizerFunctions> tokenizer_functions(
    const std::shared_ptr<const Tokenizer>& tokenizer) {
  auto functions = std::make_shared<TokenizerFunctions>();
  functions->vocab_size = tokenizer->vocab_size();
  functions->bos_id = tokenizer->bos_id();
  functions->eos_id = tokenizer->eos_id();
  functions->encode = [tokenizer](std::string_view text, bool add_bos) {
    return tokenizer->encode(text, add_bos && tokenizer->bos_id() >= 0);
  };
  functions->decode = [tokenizer](std::span<const int32_t> ids) { return tokenizer->decode(ids); };
  return functions;
}

}  // namespace okapi
