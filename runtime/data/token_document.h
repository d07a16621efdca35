// Text as tokens, and which of them are learned.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace okapi {

class Tokenizer;

/// Tokens begin .. end-1 of a document.
struct LearnedRange {
  uint32_t begin = 0;
  uint32_t end = 0;
  bool operator==(const LearnedRange&) const = default;
};

struct TokenDocument {
  std::vector<int32_t> ids;
  std::vector<LearnedRange> learned;  ///< ascending, apart, none empty; never token 0

  /// Appends ids; neighbouring learned ones become one range.
  void append(std::span<const int32_t> more, bool is_learned);
  void append_one(int32_t id, bool is_learned) { append(std::span(&id, 1), is_learned); }
  /// Leaves the first `n` tokens.
  void truncate(size_t n);
  bool operator==(const TokenDocument&) const = default;
};

/// The ids of a text of any size. A long one is encoded in parts, since sentencepiece takes about a
/// hundred bytes a character; parts end at line breaks where there are any, so that the ids are
/// those of the whole.
std::vector<int32_t> encode_text(const Tokenizer& tokenizer, std::string_view text);

/// The ids of `text` as it continues `before`: without the blank that many tokenizers put before a
/// text, as "Hello" in "ASSISTANT: Hello" has it as its own. This is how a model meets an answer:
/// the prompt's ids are there before it.
std::vector<int32_t> encode_continuation(const Tokenizer& tokenizer, std::string_view before,
                                         std::string_view text);

}  // namespace okapi
