#include "tests/golden/lines_check.h"

#include <algorithm>
#include <cctype>
#include <sstream>

#include "runtime/generation/session.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/golden/golden_files.h"

namespace okapi::test {

namespace {

constexpr int64_t kNewTokens = 8;
constexpr double kClearGap = 1e-3;  // a smaller one may turn with the order of a sum
constexpr size_t kAtOnce = 8;

struct Prompt {
  int64_t length = 0;
  std::vector<int32_t> ids;
  const Json* answer = nullptr;
  int64_t expected = 0;
  int64_t longest_before = 0;  ///< tokens of the longest input that transformers had seen by then
};

/// The first run of digits, -1 if there is none: make_lines.py's rule.
int64_t first_number(const std::string& text) {
  size_t begin = 0;
  while (begin < text.size() && !std::isdigit(static_cast<unsigned char>(text[begin]))) ++begin;
  size_t end = begin;
  while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
  return begin == end ? -1 : std::stoll(text.substr(begin, end - begin));
}

std::string text_of(const std::vector<int32_t>& ids) {
  std::ostringstream text;
  for (const int32_t id : ids) text << id << ' ';
  return text.str();
}

/// Several prompts in one batch: prefilled one after another, decoded together.
std::vector<std::vector<int32_t>> generate_together(const std::shared_ptr<const Model>& model,
                                                    std::span<const Prompt> prompts,
                                                    const SessionOptions& options) {
  std::vector<std::shared_ptr<Session>> sessions;
  std::vector<Completion> completions;
  GenerateOptions generate;
  generate.max_tokens = kNewTokens;
  generate.ignore_eos = true;
  for (const Prompt& prompt : prompts) {
    sessions.push_back(Session::create(model, options));
    sessions.back()->prefill(prompt.ids);
    completions.emplace_back(*model, generate);
  }
  for (;;) {
    std::vector<Session*> batch;
    std::vector<std::span<const int32_t>> fed;
    for (size_t i = 0; i < sessions.size(); ++i) {
      if (!completions[i].choose(sessions[i]->logits())) continue;
      batch.push_back(sessions[i].get());
      fed.emplace_back(&completions[i].ids().back(), 1);
    }
    if (batch.empty()) break;
    Session::advance_batch(batch, fed);
  }
  std::vector<std::vector<int32_t>> outputs;
  for (const Completion& completion : completions) outputs.push_back(completion.ids());
  return outputs;
}

/// transformers gives its dynamic scheme the length of the input, but never less than that of the
/// longest input before: an object that answers several prompts remembers (make_lines.py took them
/// in order). So a prompt is held against the length that was in force, token by token.
std::vector<int32_t> generate_at_length_seen(const std::shared_ptr<const Model>& model,
                                             const Prompt& prompt, SessionOptions options) {
  const auto n_prompt = static_cast<int64_t>(prompt.ids.size());
  if (prompt.longest_before >= n_prompt + kNewTokens - 1) {
    options.rope_length = prompt.longest_before;
    return generate_together(model, {&prompt, 1}, options)[0];
  }
  std::vector<int32_t> ids = prompt.ids;
  for (int64_t i = 0; i < kNewTokens; ++i) {
    options.rope_length = std::max(prompt.longest_before, static_cast<int64_t>(ids.size()));
    const auto session = Session::create(model, options);
    session->prefill(ids);
    const std::span<const float> logits = session->logits();
    ids.push_back(
        static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
  }
  return {ids.begin() + n_prompt, ids.end()};
}

}  // namespace

std::string lines_spec(const Json& rope) {
  const std::string type = rope.at("rope_type");
  if (type == "default") return "plain";
  const std::string factor = rope.at("factor").dump();
  if (type == "dynamic") return "dynamic_ntk:scale=" + factor;
  return type + ":scale=" + factor;
}

LinesResult check_lines(const std::shared_ptr<const Model>& model, const Json& answers,
                        const std::string& spec, bool by_length_seen, int64_t longest,
                        size_t stride) {
  const Json all = golden_json("lines/prompts.json");
  std::vector<Prompt> prompts;
  int64_t longest_seen = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const int64_t longest_before = longest_seen;
    longest_seen = std::max(longest_seen, all[i].at("n_tokens").get<int64_t>() + kNewTokens - 1);
    if (i % stride != 0 || all[i].at("length").get<int64_t>() > longest) continue;
    Prompt prompt;
    prompt.longest_before = longest_before;
    prompt.length = all[i].at("length");
    prompt.ids = model->tokenizer()->encode(all[i].at("prompt").get<std::string>(), true);
    prompt.answer = &answers.at("rows").at(i);
    prompt.expected = all[i].at("expected");
    if (static_cast<int64_t>(prompt.ids.size()) != all[i].at("n_tokens").get<int64_t>()) {
      throw std::runtime_error("a prompt has another number of tokens than it had");
    }
    prompts.push_back(std::move(prompt));
  }

  SessionOptions options;
  options.rope = model->parse_rope(spec);
  LinesResult result;
  for (size_t begin = 0; begin < prompts.size(); begin += kAtOnce) {
    const auto group = std::span(prompts).subspan(begin, std::min(kAtOnce, prompts.size() - begin));
    std::vector<std::vector<int32_t>> outputs;
    if (by_length_seen) {
      for (const Prompt& prompt : group) {
        outputs.push_back(generate_at_length_seen(model, prompt, options));
      }
    } else {
      outputs = generate_together(model, group, options);
    }
    for (size_t i = 0; i < group.size(); ++i) {
      const auto wanted = group[i].answer->at("output_ids").get<std::vector<int32_t>>();
      ++result.n_prompts;
      const bool is_correct =
          first_number(model->tokenizer()->decode(outputs[i])) == group[i].expected;
      result.n_correct += is_correct ? 1 : 0;
      result.more_correct[group[i].length] +=
          (is_correct ? 1 : 0) - (group[i].answer->at("correct").get<bool>() ? 1 : 0);
      if (group[i].answer->at("min_gap").get<double>() <= kClearGap) continue;
      ++result.n_checked;
      if (outputs[i] == wanted) continue;
      if (result.n_different++ == 0) {
        result.first_difference = "found " + text_of(outputs[i]) + ", expected " + text_of(wanted);
      }
    }
  }
  return result;
}

}  // namespace okapi::test
