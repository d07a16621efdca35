// The text of an output as its tokens come, in whole UTF-8 characters: a character spelled in
// several byte tokens appears with the last of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace okapi {

class Tokenizer;

class TextStream {
 public:
  explicit TextStream(std::shared_ptr<const Tokenizer> tokenizer)
      : tokenizer_(std::move(tokenizer)) {}

  /// What the next token adds.
  std::string add(int32_t id);

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<int32_t> ids_;
  // Decoding depends on what stands before (a leading space is dropped), so text is found as the
  // difference of two decodings that begin alike: ids [context_, shown_) and [context_, end).
  size_t context_ = 0;
  size_t shown_ = 0;  ///< tokens whose text has been given out
};

}  // namespace okapi
