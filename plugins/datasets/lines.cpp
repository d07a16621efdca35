// LongChat's lines (LongEval, Li et al. 2023): a record of lines with numbers, one of which is
// asked for.
//
// Makes them, in LongChat's wording or in the savanna models' compact one, or reads published ones.
// With `training` they are documents to learn from instead: several questions with their answers.
//
// The fields of a prompt are LongChat's: random_idx, expected_number, num_lines, correct_line,
// prompt; token_size where a tokenizer counted it.

#include <okapi/plugin/dataset.hpp>

#include "plugins/datasets/lines/file.h"
#include "plugins/datasets/lines/fit.h"
#include "plugins/datasets/lines/rows.h"
#include "plugins/datasets/lines/training.h"
#include "plugins/datasets/lines/wording.h"

static constexpr okapi::Param kParams[] = {
    {"style", okapi::choice("longchat", lines::kStyles), "wording"},
    {"labels", okapi::choice("NL", lines::kLabelModes),
     "adjective-noun, 1..N, letters A to F, or random UUIDs"},
    {"n_lines", 200, "lines per record", okapi::between(1, 1e9)},
    {"length", okapi::kUnsetInteger, "instead of n_lines: most tokens of a prompt, BOS included",
     okapi::between(1, 1e9)},
    {"n_samples", okapi::kUnsetInteger,
     "records; 50 by default, of a file all; training documents never end", okapi::at_least(1)},
    {"trailing_space", false, "a blank after LongChat's question, as in its files up to 680 lines"},
    {"file", okapi::kUnsetText, "records of this .jsonl or .jsonl.gz file instead of made ones"},
    {"training", false, "documents to learn from: questions answered, only the answers have loss"},
    {"min_length", 100, "training: length of the shortest documents; `length` is the longest's",
     okapi::at_least(1)},
    {"min_lines", 2, "training without length: fewest lines; n_lines is the most",
     okapi::at_least(1)},
    {"questions", 10, "training: most questions of a document", okapi::between(1, 1e6)},
    {"min_questions", okapi::kUnsetInteger, "training: fewest, where they fit; half of the most",
     okapi::at_least(1)},
};

class LinesDataset {
 public:
  LinesDataset(const okapi::Params& params, uint64_t seed, okapi::Host host)
      : host_(host), seed_(seed), tokenizer_(host.tokenizer()) {
    wording_.style = lines::style_named(params.text("style"));
    wording_.trailing_space = params.boolean("trailing_space");
    if (params.boolean("training")) {
      open_training(params);
      return;
    }
    for (const char* other : {"min_length", "min_lines", "questions", "min_questions"}) {
      okapi::require(!params.given(other), "is for documents to learn from (training)", other);
    }
    if (params.has("file")) {
      for (const char* other : {"style", "labels", "n_lines", "length", "trailing_space"}) {
        okapi::require(!params.given(other), "says how to make records, but they come from a file",
                       other);
      }
      const int64_t most = params.has("n_samples") ? params.integer("n_samples") : -1;
      records_ = lines::read_records(params.text("file"), most);
      n_records_ = static_cast<int64_t>(records_.size());
      return;
    }

    constexpr int64_t kSamplesPerSet = 50;  // LongChat's
    n_records_ = params.has("n_samples") ? params.integer("n_samples") : kSamplesPerSet;
    n_lines_ = params.integer("n_lines");
    if (params.has("length")) {
      okapi::require(!params.given("n_lines"), "give either n_lines or length", "length");
      okapi::require(tokenizer_.has_value(), "needs a tokenizer to count with; n_lines does not",
                     "length");
      length_ = params.integer("length");
    }
    rows_.style = wording_.style;
    rows_.labels = lines::labels_named(params.text("labels"));
    rows_.most_rows = length_ > 0 ? length_ : n_lines_;  // a row has at least a token
    lines::Rows rows(rows_, host_, seed_, 0);
    if (length_ == 0) rows.label(n_lines_ - 1);  // says now if there are not so many labels
  }

  int64_t count() const { return n_records_; }

  okapi::Record record(int64_t index) const {
    if (training_) return training_->record(index);
    if (!records_.empty()) return records_[static_cast<size_t>(index)];

    lines::Rows rows(rows_, host_, seed_, index);
    const double where = lines::random_of(host_, seed_, index, lines::Stream::question).uniform();
    const auto asked_of = [&](int64_t n) {
      return static_cast<int64_t>(where * static_cast<double>(n));
    };
    const int64_t n_lines = length_ > 0 ? fitting_lines(rows, asked_of) : n_lines_;
    const int64_t asked = asked_of(n_lines);
    const std::string& label = rows.label(asked);  // adjectives and hexadecimals: nothing to escape
    const std::string prompt = lines::prompt_text(wording_, rows, n_lines, asked);

    okapi::Record record(OKAPI_RECORD_PROMPT);
    record.json("random_idx", "[\"" + label + "\", " + std::to_string(asked) + "]")
        .number("expected_number", static_cast<double>(rows.number(asked)))
        .number("num_lines", static_cast<double>(n_lines))
        .text("correct_line", lines::row_text(label, rows.number(asked)))
        .text("style", wording_.style == lines::Style::compact ? "compact" : "longchat")
        .text("prompt", prompt);
    if (tokenizer_)
      record.number("token_size", static_cast<double>(tokenizer_->count(prompt, true)));
    if (length_ > 0) record.number("length", static_cast<double>(length_));
    return record;
  }

 private:
  void open_training(const okapi::Params& params) {
    okapi::require(!params.has("file"), "documents to learn from are made, not read", "file");
    n_records_ = params.has("n_samples") ? params.integer("n_samples") : -1;
    training_.emplace(lines::training_options(params), host_, seed_);
  }

  template <typename AskedOf>
  int64_t fitting_lines(lines::Rows& rows, const AskedOf& asked_of) const {
    lines::RowFitting fitting;
    fitting.prompt = [&](int64_t n) { return lines::prompt_text(wording_, rows, n, asked_of(n)); };
    fitting.row = [&](int64_t row) { return lines::row_text(rows.label(row), rows.number(row)); };
    fitting.n_tokens = [&](std::string_view text) { return tokenizer_->count(text, true); };
    fitting.capacity = rows.capacity();
    return lines::fit_rows(fitting, length_).n_rows;
  }

  okapi::Host host_;
  uint64_t seed_;
  std::optional<okapi::Tokenizer> tokenizer_;
  lines::Wording wording_;
  lines::RowOptions rows_;
  int64_t n_lines_ = 0;
  int64_t length_ = 0;  // 0: n_lines_ counts
  int64_t n_records_ = 0;
  std::vector<okapi::Record> records_;  // of the file
  std::optional<lines::Training> training_;
};

OKAPI_DATASET_PLUGIN("lines", "LongChat's lines with numbers, one of them asked for", LinesDataset,
                     .params = kParams)
