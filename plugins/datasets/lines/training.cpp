#include "plugins/datasets/lines/training.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace lines {

namespace {

constexpr int64_t kMeasuredRows = 64;

/// `n` different ones of 0 .. n_rows-1, in random order.
std::vector<int64_t> draw_asked(int64_t n, int64_t n_rows, okapi::Random& random) {
  std::vector<int64_t> all(static_cast<size_t>(n_rows));
  std::iota(all.begin(), all.end(), int64_t{0});
  for (int64_t i = 0; i < n; ++i) {
    std::swap(all[static_cast<size_t>(i)],
              all[static_cast<size_t>(random.uniform_int(i, n_rows - 1))]);
  }
  all.resize(static_cast<size_t>(n));
  return all;
}

}  // namespace

TrainingOptions training_options(const okapi::Params& params) {
  TrainingOptions options;
  options.wording.style = style_named(params.text("style"));
  options.wording.trailing_space = params.boolean("trailing_space");
  options.counts_tokens = params.has("length");
  const char* most = options.counts_tokens ? "length" : "n_lines";
  const char* fewest = options.counts_tokens ? "min_length" : "min_lines";
  const char* other = options.counts_tokens ? "n_lines" : "min_length";
  okapi::require(
      !params.given(other) && !params.given(options.counts_tokens ? "min_lines" : "length"),
      "give lengths in tokens (length, min_length) or in lines (n_lines, min_lines)", other);
  options.max_size = params.integer(most);
  options.min_is_given = params.given(fewest);
  // A default must not stand in the way of documents that are all short.
  options.min_size = params.given(fewest) ? params.integer(fewest)
                                          : std::min(params.integer(fewest), options.max_size);
  okapi::require(options.min_size <= options.max_size,
                 "wanted at most " + std::string(most) + " (" + std::to_string(options.max_size) +
                     "), found " + std::to_string(options.min_size),
                 fewest);
  options.max_questions = params.integer("questions");
  options.min_questions = params.has("min_questions") ? params.integer("min_questions")
                                                      : (options.max_questions + 1) / 2;
  okapi::require(options.min_questions <= options.max_questions,
                 "wanted at most questions (" + std::to_string(options.max_questions) +
                     "), found " + std::to_string(options.min_questions),
                 "min_questions");
  options.rows.style = options.wording.style;
  options.rows.labels = labels_named(params.text("labels"));
  options.rows.most_rows = options.max_size;  // a row has at least a token
  return options;
}

Training::Training(const TrainingOptions& options, okapi::Host host, uint64_t seed)
    : options_(options), host_(host), seed_(seed), tokenizer_(host.tokenizer()) {
  if (!options_.counts_tokens) {
    Rows(options_.rows, host_, seed_, 0).label(options_.max_size - 1);  // are there so many?
    return;
  }
  okapi::require(tokenizer_.has_value(), "needs a tokenizer to count with; n_lines does not",
                 "length");
  measure();
}

Training::Pieces Training::pieces(Rows& rows, int64_t n_rows,
                                  const std::vector<int64_t>& asked) const {
  const bool is_compact = options_.wording.style == Style::compact;
  Pieces pieces;
  for (const int64_t row : asked) {
    std::string question;
    if (pieces.empty()) {
      question = prompt_text(options_.wording, rows, n_rows, row);
    } else if (is_compact) {
      question.append(kCompactQuestion).append(rows.label(row)).append(kCompactEnd);
    } else {
      // As the first one's last sentences, without the farewell to the record.
      question = "Tell me what is the <REGISTER_CONTENT> in line " + rows.label(row) +
                 std::string(kLongchatEnd);
    }
    pieces.push_back(std::move(question));
    pieces.push_back(std::to_string(rows.number(row)) + (is_compact ? ">\n" : ""));
  }
  return pieces;
}

int64_t Training::n_tokens(const Pieces& pieces) const {
  // Counted one by one, as they are learned: a question ends where an answer will begin.
  const bool is_compact = options_.wording.style == Style::compact;
  int64_t n = 1;  // BOS
  for (size_t i = 0; i < pieces.size(); i += 2) {
    std::string question = pieces[i];
    if (!is_compact) {
      question =
          (i == 0 ? std::string(kVicunaBegin) : "USER: ") + question + std::string(kVicunaEnd);
    }
    n += tokenizer_->count(question, false) + tokenizer_->count(pieces[i + 1], false);
    if (!is_compact) n += 2;  // EOS, and a blank that some tokenizers keep apart from the answer
  }
  return n;
}

void Training::measure() {
  Rows rows(options_.rows, host_, seed_, 0);
  const int64_t n_rows = std::min(kMeasuredRows, rows.capacity());
  const auto n = static_cast<double>(n_rows);
  std::vector<int64_t> asked(static_cast<size_t>(n_rows));
  std::iota(asked.begin(), asked.end(), int64_t{0});
  const int64_t all = n_tokens(pieces(rows, n_rows, asked));
  const int64_t one_question = n_tokens(pieces(rows, n_rows, {0}));
  const int64_t one_row = n_tokens(pieces(rows, 1, {0}));
  if (n_rows > 1) {
    row_tokens_ = std::max(1.0, static_cast<double>(one_question - one_row) / (n - 1));
    question_tokens_ = std::max(1.0, static_cast<double>(all - one_question) / (n - 1));
  }
  frame_tokens_ = std::max<int64_t>(
      0, one_row - static_cast<int64_t>(row_tokens_) - static_cast<int64_t>(question_tokens_));
  const std::string least =
      "a document of one line and one question has " + std::to_string(one_row) + " tokens, found ";
  okapi::require(one_row <= options_.max_size, least + std::to_string(options_.max_size), "length");
  if (!options_.min_is_given) options_.min_size = std::max(options_.min_size, one_row);
  okapi::require(one_row <= options_.min_size, least + std::to_string(options_.min_size),
                 "min_length");
}

Training::Pieces Training::fitting_pieces(Rows& rows, int64_t document) const {
  okapi::Random random = random_of(host_, seed_, document, Stream::training);
  const int64_t size = random.uniform_int(options_.min_size, options_.max_size);
  int64_t n_questions = random.uniform_int(options_.min_questions, options_.max_questions);
  int64_t n_rows = size;
  if (options_.counts_tokens) {
    // No more questions than rows, so that short documents are not all question.
    const auto room = static_cast<double>(size - frame_tokens_);
    n_questions = std::clamp<int64_t>(static_cast<int64_t>(room / (row_tokens_ + question_tokens_)),
                                      1, n_questions);
    n_rows = static_cast<int64_t>((room - question_tokens_ * static_cast<double>(n_questions)) /
                                  row_tokens_);
  }
  n_rows = std::clamp<int64_t>(n_rows, 1, rows.capacity());

  const okapi::Random unused = random;
  while (true) {
    n_questions = std::min(n_questions, n_rows);
    okapi::Random draws = unused;  // the same whatever was tried before
    Pieces made = pieces(rows, n_rows, draw_asked(n_questions, n_rows, draws));
    if (!options_.counts_tokens) return made;
    const int64_t excess = n_tokens(made) - size;
    if (excess <= 0) return made;
    const bool can_shorten = n_rows > 1;
    okapi::require(
        can_shorten || n_questions > 1,
        "not even one line and one question fit into " + std::to_string(size) + " tokens",
        "min_length");
    if (can_shorten) {
      const auto fewer = static_cast<int64_t>(std::ceil(static_cast<double>(excess) / row_tokens_));
      n_rows = std::max<int64_t>(1, n_rows - std::max<int64_t>(1, fewer));
    } else {
      --n_questions;
    }
  }
}

okapi::Record Training::record_of(const Pieces& pieces) const {
  if (options_.wording.style == Style::longchat) {
    okapi::Record record(OKAPI_RECORD_CONVERSATION);
    // Words, digits and the header: nothing of it is escaped but line breaks.
    std::string turns;
    for (size_t i = 0; i < pieces.size(); ++i) {
      turns += turns.empty() ? "[" : ", ";
      turns += i % 2 == 0 ? R"({"role": "user", "text": ")" : R"({"role": "assistant", "text": ")";
      for (const char c : pieces[i]) turns += c == '\n' ? "\\n" : std::string(1, c);
      turns += "\"}";
    }
    record.json("turns", turns + "]");
    return record;
  }

  std::string text;
  std::string learned;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i % 2 == 1) {
      learned += (learned.empty() ? "[[" : ", [") + std::to_string(text.size()) + ", " +
                 std::to_string(text.size() + pieces[i].size()) + "]";
    }
    text += pieces[i];
  }
  okapi::Record record(OKAPI_RECORD_TEXT);
  record.text("text", std::move(text)).json("learned", learned + "]");
  return record;
}

okapi::Record Training::record(int64_t index) const {
  Rows rows(options_.rows, host_, seed_, index);
  const Pieces pieces = fitting_pieces(rows, index);
  okapi::Record record = record_of(pieces);
  const size_t n_questions = pieces.size() / 2;
  record.number("num_questions", static_cast<double>(n_questions));
  return record;
}

}  // namespace lines
