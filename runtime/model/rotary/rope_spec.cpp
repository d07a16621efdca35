#include "runtime/model/rotary/rope_spec.h"

#include "runtime/base/error.h"
#include "runtime/plugin_host/names.h"

namespace okapi {

namespace {

class SpecReader {
 public:
  explicit SpecReader(std::string_view text) : text_(text) {}

  std::vector<SchemeText> read() {
    std::vector<SchemeText> schemes = {scheme()};
    while (take('|')) schemes.push_back(scheme());
    if (!at_end()) fail("wanted | or the end");
    return schemes;
  }

 private:
  SchemeText scheme() {
    SchemeText scheme;
    scheme.name = word("a scheme's name");
    if (!is_plugin_id(scheme.name)) fail("wanted a scheme's name, found \"" + scheme.name + "\"");
    if (!take(':') || peek() == '|' || at_end()) return scheme;
    do {
      std::string key = word("a parameter's name");
      if (!is_plain_name(key)) fail("wanted a parameter's name, found \"" + key + "\"");
      if (!take('=')) fail("wanted = after " + key);
      scheme.params.emplace_back(std::move(key), value());
    } while (take(','));
    return scheme;
  }

  std::string value() {
    skip_blanks();
    if (peek() == '"') return quoted();
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] != ',' && text_[at_] != '|') {
      if (text_[at_] == '"') fail("a quote within a value that does not begin with one");
      ++at_;
    }
    return trimmed(text_.substr(begin, at_ - begin));
  }

  std::string quoted() {
    std::string value;
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] == '\\') {
        ++at_;
        if (at_ == text_.size() || (text_[at_] != '"' && text_[at_] != '\\')) {
          fail(R"(after \ wanted " or \)");
        }
      }
      value += text_[at_];
    }
    if (at_ == text_.size()) fail("a quoted value has no end");
    ++at_;
    return value;
  }

  std::string word(const char* wanted) {
    skip_blanks();
    const size_t begin = at_;
    while (at_ < text_.size() &&
           std::string_view(":=,|\"").find(text_[at_]) == std::string_view::npos) {
      ++at_;
    }
    std::string word = trimmed(text_.substr(begin, at_ - begin));
    if (word.empty()) fail(std::string("wanted ") + wanted);
    return word;
  }

  static std::string trimmed(std::string_view text) {
    while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
    return std::string(text);
  }

  static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }

  char peek() {
    skip_blanks();
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  bool at_end() {
    skip_blanks();
    return at_ == text_.size();
  }

  bool take(char c) {
    if (at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(Code::invalid_argument, "rope \"" + std::string(text_) + "\", column " +
                                            std::to_string(at_ + 1) + ": " + problem)
        .in("rope")
        .field("rope");
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::vector<SchemeText> parse_rope_spec(std::string_view spec) { return SpecReader(spec).read(); }

}  // namespace okapi
