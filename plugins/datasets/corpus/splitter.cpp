#include "plugins/datasets/corpus/splitter.h"

#include <memory>
#include <utility>

#include "plugins/datasets/corpus/byte_source.h"
#include "plugins/datasets/corpus/corpus.h"

namespace corpus {

namespace {

// A small compressed file may unpack to anything.
constexpr size_t kMostBytes = size_t{1} << 30;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

class Accumulator : public Splitter {
 public:
  Accumulator(std::string path, Report report)
      : path_(std::move(path)), report_(std::move(report)) {}

 protected:
  void add(std::string_view bytes) {
    if (bytes.size() > kMostBytes - piece_.size()) {
      fail("a document of more than a gigabyte");
    }
    piece_ += bytes;
  }

  void report_piece() {
    report_({piece_, offset_, line_});
    piece_.clear();
  }

  [[noreturn]] void fail(const std::string& problem) const {
    fail_piece(path_ + ":" + std::to_string(line_), problem);
  }

  std::string path_;
  Report report_;
  std::string piece_;
  uint64_t offset_ = 0;  ///< of piece_
  int64_t line_ = 1;     ///< of piece_
};

class Whole : public Accumulator {
 public:
  using Accumulator::Accumulator;
  void feed(std::string_view block) override { add(block); }
  void finish() override {
    if (!piece_.empty()) report_piece();
  }
};

class Lines : public Accumulator {
 public:
  using Accumulator::Accumulator;

  void feed(std::string_view block) override {
    while (!block.empty()) {
      const size_t end = block.find('\n');
      add(block.substr(0, end));
      if (end == std::string_view::npos) return;
      end_line();
      block.remove_prefix(end + 1);
    }
  }
  void finish() override { end_line(); }

 private:
  void end_line() {
    const uint64_t next = offset_ + piece_.size() + 1;
    if (!piece_.empty() && piece_.back() == '\r') piece_.pop_back();
    if (piece_.find_first_not_of(" \t\r") != std::string::npos) report_piece();
    piece_.clear();
    offset_ = next;
    ++line_;
  }
};

class Parts : public Accumulator {
 public:
  Parts(std::string path, size_t n_bytes, Report report)
      : Accumulator(std::move(path), std::move(report)), n_bytes_(n_bytes) {}

  void feed(std::string_view block) override {
    while (!block.empty()) {
      const size_t end = block.find('\n');
      if (end == std::string_view::npos) return add(block);
      add(block.substr(0, end + 1));
      ++n_lines_;
      if (piece_.size() >= n_bytes_) end_part();
      block.remove_prefix(end + 1);
    }
  }
  void finish() override {
    if (!piece_.empty()) end_part();
  }

 private:
  void end_part() {
    const uint64_t next = offset_ + piece_.size();
    report_piece();
    offset_ = next;
    line_ += std::exchange(n_lines_, 0);
  }

  size_t n_bytes_;
  int64_t n_lines_ = 0;  ///< ended within piece_
};

class JsonObjects : public Accumulator {
 public:
  using Accumulator::Accumulator;

  void feed(std::string_view block) override {
    if (lines_ != nullptr) return lines_->feed(block);
    for (size_t i = 0; i < block.size(); ++i) {
      if (state_ == State::start && !is_blank(block[i])) {
        if (block[i] == '[') {
          state_ = State::first;
          ++at_;
          continue;
        }
        begin_lines();
        return lines_->feed(block.substr(i));
      }
      next(block[i]);
      ++at_;
    }
  }

  void finish() override {
    if (lines_ != nullptr) return lines_->finish();
    line_ = current_line_;
    if (state_ != State::ended && state_ != State::start) {
      fail("the file ends within its JSON array");
    }
  }

 private:
  enum class State { start, first, wanted, object, after, ended };

  /// What came before was blank, so that only its size and its lines count.
  void begin_lines() {
    lines_ = Splitter::lines(path_, report_);
    std::string blank(at_, ' ');
    for (int64_t i = 1; i < current_line_; ++i) blank[static_cast<size_t>(i - 1)] = '\n';
    lines_->feed(blank);
  }

  void next(char c) {
    if (state_ == State::object) {
      in_object(c);
    } else if (!is_blank(c)) {
      between(c);
    }
    if (c == '\n') ++current_line_;
  }

  void in_object(char c) {
    add({&c, 1});
    if (in_string_) {
      if (is_escaped_) {
        is_escaped_ = false;
      } else if (c == '\\') {
        is_escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
      }
      return;
    }
    if (c == '"') in_string_ = true;
    if (c == '{' || c == '[') ++depth_;
    if ((c == '}' || c == ']') && --depth_ == 0) {
      report_piece();
      state_ = State::after;
    }
  }

  void between(char c) {
    line_ = current_line_;
    const bool takes_object = state_ == State::first || state_ == State::wanted;
    const bool takes_end = state_ == State::first || state_ == State::after;
    if (takes_object && c == '{') {
      state_ = State::object;
      offset_ = at_;
      depth_ = 1;
      add({&c, 1});
    } else if (takes_end && c == ']') {
      state_ = State::ended;
    } else if (state_ == State::after && c == ',') {
      state_ = State::wanted;
    } else {
      const char* wanted = takes_object             ? "wanted an object"
                           : state_ == State::after ? "wanted ',' or ']' after an object"
                                                    : "wanted nothing after the array";
      fail(std::string(wanted) + ", found '" + c + "'");
    }
  }

  State state_ = State::start;
  std::unique_ptr<Splitter> lines_;
  uint64_t at_ = 0;
  int64_t current_line_ = 1;
  int64_t depth_ = 0;
  bool in_string_ = false;
  bool is_escaped_ = false;
};

}  // namespace

std::unique_ptr<Splitter> Splitter::whole(std::string path, Report report) {
  return std::make_unique<Whole>(std::move(path), std::move(report));
}

std::unique_ptr<Splitter> Splitter::lines(std::string path, Report report) {
  return std::make_unique<Lines>(std::move(path), std::move(report));
}

std::unique_ptr<Splitter> Splitter::parts(std::string path, size_t n_bytes, Report report) {
  return std::make_unique<Parts>(std::move(path), n_bytes, std::move(report));
}

std::unique_ptr<Splitter> Splitter::json(std::string path, Report report) {
  return std::make_unique<JsonObjects>(std::move(path), std::move(report));
}

}  // namespace corpus
