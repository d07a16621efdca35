// Retrieve one line: a prompt of many labelled numbers, and the question for one of them.
//
// Prompts are made to a length in the model's own tokens, never above it and less than one line
// below it; or they are given, as records of the lines dataset or as JSON. The answer is a whole
// number in the output: the first one, as in Giraffe's evaluation, or the last, as in LongChat's.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>

#include <okapi/plugin/task.hpp>

#include "plugins/datasets/lines/fit.h"
#include "plugins/datasets/lines/rows.h"
#include "plugins/datasets/lines/wording.h"

static constexpr okapi::Default kUnsetBoolean = okapi::Default::unset(OKAPI_PARAM_BOOLEAN);

static constexpr okapi::Param kParams[] = {
    {"style", okapi::choice("longchat", lines::kStyles),
     "wording; of given prompts, their own `style` or compact unless this is given"},
    {"labels", okapi::choice("NL", lines::kLabelModes),
     "adjective-noun, 1..N, letters A to F, or random UUIDs"},
    {"length", 1024, "most tokens of the prompt, BOS included", okapi::between(1, 1e9)},
    {"include_budget", false, "the tokens to generate count as part of length"},
    {"n_lines", okapi::kUnsetInteger, "lines of a prompt, instead of length",
     okapi::between(1, 1e9)},
    {"n_samples", okapi::kUnsetInteger, "prompts; 50 by default, of given ones all",
     okapi::at_least(1)},
    {"depth", okapi::kUnset, "place of the asked line, 0 first to 1 last; random by default",
     okapi::between(0, 1)},
    {"depths", okapi::kUnsetInteger, "sweep the asked line over so many evenly spaced places",
     okapi::at_least(2)},
    {"template", okapi::choice("none", "none|vicuna"), "chat template around the prompt"},
    {"trailing_space", false, "a blank after LongChat's question, as in its files up to 680 lines"},
    {"bos", okapi::choice("add", "add|none"), "beginning-of-sequence token before the prompt"},
    {"score", okapi::choice("first", "first|last"), "which number of the output is the answer"},
    {"max_new_tokens", okapi::kUnsetInteger, "tokens to generate; longchat 35, compact 8",
     okapi::at_least(1)},
    {"min_new_tokens", okapi::kUnsetInteger,
     "before so many the output does not end; longchat 5, compact 0", okapi::at_least(0)},
    {"ignore_eos", kUnsetBoolean,
     "the output goes on after end of sequence; longchat false, compact true"},
};

static constexpr okapi_metric kMetrics[] = {
    {"correct", "the number found in the output is the asked line's", OKAPI_AGGREGATE_RATE, 1},
};
static constexpr const char* kGroupBy[] = {"length", "depth_decile"};

namespace {

/// What an answer may take, where the parameters do not say: Giraffe's evaluation, and the savanna
/// models' reference.
struct Budget {
  int64_t max_new_tokens;
  int64_t min_new_tokens;
  bool ignores_eos;
};
constexpr Budget budget_of(lines::Style style) {
  return style == lines::Style::longchat ? Budget{35, 5, false} : Budget{8, 0, true};
}

/// A double holds every whole number of so many digits.
constexpr size_t kExactDigits = 15;
constexpr double kExactBelow = 1e15;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// A run of digits without leading zeros, so that equal numbers are equal texts of any size.
std::string canonical_number(std::string_view digits) {
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size() - 1));
  return std::string(digits);
}

/// The first or the last whole number in a text: a longest run of digits.
std::optional<std::string> number_in(std::string_view text, bool last) {
  constexpr std::string_view kDigits = "0123456789";
  const size_t found = last ? text.find_last_of(kDigits) : text.find_first_of(kDigits);
  if (found == std::string_view::npos) return std::nullopt;
  size_t begin = found;
  size_t end = found + 1;
  while (begin > 0 && is_digit(text[begin - 1])) --begin;
  while (end < text.size() && is_digit(text[end])) ++end;
  return canonical_number(text.substr(begin, end - begin));
}

/// The asked line's place among n: 0 is the first, 1 the last.
double depth_of(int64_t asked, int64_t n_lines) {
  return n_lines > 1 ? static_cast<double>(asked) / static_cast<double>(n_lines - 1) : 0.0;
}

void add_place(okapi::Item& item, int64_t asked, int64_t n_lines) {
  const double depth = depth_of(asked, n_lines);
  item.attribute("depth", depth).attribute("depth_decile", std::min(9.0, std::floor(depth * 10)));
}

/// A whole number of a given record: a number, or digits.
std::string expected_of(const okapi::Record& record) {
  const okapi::Field* field = record.find("expected");
  if (field == nullptr) field = record.find("expected_number");
  okapi::require(field != nullptr, "the record says no `expected` (or `expected_number`)",
                 "expected");
  std::string text = field->text;
  if (field->type == OKAPI_FIELD_NUMBER) {
    okapi::require(field->number >= 0 && field->number == std::floor(field->number) &&
                       field->number < kExactBelow,
                   "wanted a whole number", "expected");
    text = std::to_string(static_cast<int64_t>(field->number));
  }
  okapi::require(!text.empty() && std::all_of(text.begin(), text.end(), is_digit),
                 "wanted a whole number, found '" + text + "'", "expected");
  return canonical_number(text);
}

std::optional<int64_t> whole_number(const okapi::Record& record, const char* name) {
  const okapi::Field* field = record.find(name);
  if (field == nullptr || field->type != OKAPI_FIELD_NUMBER ||
      field->number != std::floor(field->number)) {
    return std::nullopt;
  }
  return static_cast<int64_t>(field->number);
}

/// The asked line's number: `asked`, or the position in LongChat's random_idx, ["torpid-kid", 7].
std::optional<int64_t> asked_line(const okapi::Record& record) {
  if (record.has("asked")) return whole_number(record, "asked");
  const okapi::Field* field = record.find("random_idx");
  if (field == nullptr || field->type != OKAPI_FIELD_JSON) return std::nullopt;
  const size_t comma = field->text.rfind(',');
  if (comma == std::string::npos) return std::nullopt;
  const std::optional<std::string> position =
      number_in(std::string_view(field->text).substr(comma), /*last=*/false);
  if (!position || position->size() > kExactDigits) return std::nullopt;
  return std::stoll(*position);
}

}  // namespace

class LinesTask {
 public:
  LinesTask(const okapi::Params& params, uint64_t seed, okapi::Host host, okapi::Records records)
      : params_(params), seed_(seed), host_(host), records_(records), tokenizer_(host.tokenizer()) {
    okapi::require(tokenizer_.has_value(),
                   "lengths are counted in tokens, so the task needs a tokenizer");
    wording_.style = lines::style_named(params.text("style"));
    wording_.trailing_space = params.boolean("trailing_space");
    wording_.in_vicuna_template = params.text("template") == "vicuna";
    adds_bos_ = params.text("bos") == "add";
    okapi::require(!adds_bos_ || tokenizer_->bos_id() >= 0,
                   "the tokenizer has no beginning-of-sequence token: give bos=none", "bos");
    okapi::require(!params.has("depth") || !params.has("depths"), "give either depth or depths",
                   "depths");
    if (records_.any()) {
      open_given();
    } else {
      open_made();
    }
  }

  int64_t count() const { return n_items_; }

  okapi::Item item(int64_t index) const {
    return records_.any() ? given_item(index) : made_item(index);
  }

  okapi::Score score(const okapi::ScoredItem& item, const okapi::Output& output) const {
    const std::optional<std::string> found =
        number_in(output.text, params_.text("score") == "last");
    okapi::Score score;
    score.flag("correct", found.has_value() && *found == item.scoring_data);
    score.parsed = found.value_or("-1");
    return score;
  }

 private:
  void open_given() {
    for (const char* maker :
         {"labels", "length", "n_lines", "depth", "depths", "include_budget", "trailing_space"}) {
      okapi::require(!params_.given(maker), "says how to make prompts, but they are given", maker);
    }
    n_items_ = records_.count();
    if (params_.has("n_samples")) {
      const int64_t wanted = params_.integer("n_samples");
      okapi::require(
          n_items_ < 0 || wanted <= n_items_,
          "wanted " + std::to_string(wanted) + " prompts, given are " + std::to_string(n_items_),
          "n_samples");
      n_items_ = wanted;
    }
    okapi::require(n_items_ >= 0, "the records never end: say how many to take", "n_samples");
  }

  void open_made() {
    constexpr int64_t kSamples = 50;  // LongChat's and Giraffe's number per length
    n_items_ = params_.has("n_samples") ? params_.integer("n_samples") : kSamples;
    rows_.style = wording_.style;
    rows_.labels = lines::labels_named(params_.text("labels"));
    if (params_.has("n_lines")) {
      okapi::require(!params_.given("length"), "give either length or n_lines", "n_lines");
      n_lines_ = params_.integer("n_lines");
      rows_.most_rows = n_lines_;
      lines::Rows(rows_, host_, seed_, 0)
          .label(n_lines_ - 1);  // says now if there are not so many labels
    } else {
      length_ = params_.integer("length");
      rows_.most_rows = length_;  // a line has at least a token
    }
  }

  Budget budget(lines::Style style) const {
    Budget budget = budget_of(style);
    if (params_.has("max_new_tokens")) {
      budget.max_new_tokens = params_.integer("max_new_tokens");
      budget.min_new_tokens = std::min(budget.min_new_tokens, budget.max_new_tokens);
    }
    if (params_.has("min_new_tokens")) budget.min_new_tokens = params_.integer("min_new_tokens");
    if (params_.has("ignore_eos")) budget.ignores_eos = params_.boolean("ignore_eos");
    okapi::require(budget.min_new_tokens <= budget.max_new_tokens,
                   "wanted at most max_new_tokens (" + std::to_string(budget.max_new_tokens) +
                       "), found " + std::to_string(budget.min_new_tokens),
                   "min_new_tokens");
    return budget;
  }

  okapi::Item new_item(std::string key, std::string prompt, lines::Style style,
                       std::string expected) const {
    const Budget allowed = budget(style);
    okapi::Item item;
    item.key = std::move(key);
    item.parts.emplace_back(std::move(prompt));
    item.bos = adds_bos_ ? OKAPI_BOS_ADD : OKAPI_BOS_NONE;
    item.max_new_tokens = allowed.max_new_tokens;
    item.min_new_tokens = allowed.min_new_tokens;
    item.ignores_eos = allowed.ignores_eos;
    item.scoring_data = std::move(expected);
    return item;
  }

  /// Which of n lines item `index` asks for.
  int64_t asked_line_of(int64_t index, double where, int64_t n_lines) const {
    const auto at = [&](double depth) {
      return static_cast<int64_t>(std::lround(depth * static_cast<double>(n_lines - 1)));
    };
    if (params_.has("depth")) return at(params_.number("depth"));
    if (params_.has("depths")) {
      const int64_t n_depths = params_.integer("depths");
      return at(static_cast<double>(index % n_depths) / static_cast<double>(n_depths - 1));
    }
    return static_cast<int64_t>(where * static_cast<double>(n_lines));
  }

  okapi::Item made_item(int64_t index) const {
    lines::Rows rows(rows_, host_, seed_, index);
    const double where = lines::random_of(host_, seed_, index, lines::Stream::question).uniform();
    const auto prompt_of = [&](int64_t n) {
      return lines::prompt_text(wording_, rows, n, asked_line_of(index, where, n));
    };
    const auto n_tokens_of = [&](std::string_view text) {
      return tokenizer_->count(text, adds_bos_);
    };

    int64_t n_lines = n_lines_;
    if (length_ > 0) {
      const int64_t generated =
          params_.boolean("include_budget") ? budget(wording_.style).max_new_tokens : 0;
      lines::RowFitting fitting;
      fitting.prompt = prompt_of;
      fitting.row = [&](int64_t row) { return lines::row_text(rows.label(row), rows.number(row)); };
      fitting.n_tokens = n_tokens_of;
      fitting.capacity = rows.capacity();
      n_lines = lines::fit_rows(fitting, length_ - generated).n_rows;
    }
    const int64_t asked = asked_line_of(index, where, n_lines);
    const int64_t expected = rows.number(asked);
    std::string prompt = prompt_of(n_lines);
    const int64_t n_tokens = n_tokens_of(prompt);

    const std::string set =
        length_ > 0 ? std::to_string(length_) : std::to_string(n_lines_) + "-lines";
    okapi::Item item = new_item(set + "/" + std::to_string(index), std::move(prompt),
                                wording_.style, std::to_string(expected));
    if (length_ > 0) item.attribute("length", static_cast<double>(length_));
    item.attribute("n_tokens", static_cast<double>(n_tokens))
        .attribute("n_lines", static_cast<double>(n_lines))
        .attribute("asked", static_cast<double>(asked))
        .attribute("expected", static_cast<double>(expected));
    add_place(item, asked, n_lines);
    return item;
  }

  okapi::Item given_item(int64_t index) const {
    const okapi::Record record = records_.record(index);
    lines::Wording wording = wording_;
    if (!params_.given("style")) {
      wording.style = lines::style_named(record.has("style") ? record.text("style") : "compact");
    }
    const std::string expected = expected_of(record);
    std::string prompt = lines::in_template(wording, record.text("prompt"));
    const int64_t n_tokens = tokenizer_->count(prompt, adds_bos_);
    check_count(record, n_tokens);

    okapi::Item item =
        new_item("given/" + std::to_string(index), std::move(prompt), wording.style, expected);
    const std::optional<int64_t> asked = asked_line(record);
    std::optional<int64_t> n_lines = whole_number(record, "n_lines");
    if (!n_lines) n_lines = whole_number(record, "num_lines");
    if (const auto length = whole_number(record, "length")) {
      item.attribute("length", static_cast<double>(*length));
    }
    item.attribute("n_tokens", static_cast<double>(n_tokens));
    if (n_lines) item.attribute("n_lines", static_cast<double>(*n_lines));
    if (asked) item.attribute("asked", static_cast<double>(*asked));
    if (expected.size() <= kExactDigits) {
      item.attribute("expected", std::stod(expected));
    } else {
      item.attribute("expected", expected);
    }
    if (asked && n_lines && *asked >= 0 && *asked < *n_lines) add_place(item, *asked, *n_lines);
    return item;
  }

  /// A record may say how many tokens it had for whoever made it; with another tokenizer the same
  /// prompt is another question.
  void check_count(const okapi::Record& record, int64_t n_tokens) const {
    const std::optional<int64_t> said = whole_number(record, "n_tokens");
    if (!said || *said == n_tokens || wording_.in_vicuna_template || has_warned_.exchange(true)) {
      return;
    }
    host_.log(OKAPI_HOST_LOG_WARN, "a given prompt says it has " + std::to_string(*said) +
                                       " tokens, this model's tokenizer finds " +
                                       std::to_string(n_tokens));
  }

  okapi::Params params_;
  uint64_t seed_;
  okapi::Host host_;
  okapi::Records records_;
  std::optional<okapi::Tokenizer> tokenizer_;
  lines::Wording wording_;
  lines::RowOptions rows_;
  bool adds_bos_ = true;
  int64_t length_ = 0;  // of made prompts; 0: n_lines_ counts
  int64_t n_lines_ = 0;
  int64_t n_items_ = 0;
  mutable std::atomic<bool> has_warned_{false};
};

OKAPI_TASK_PLUGIN("lines", "retrieve the number of one line among many", LinesTask, .version = "1",
                  .metrics = kMetrics, .group_by = kGroupBy, .params = kParams)
