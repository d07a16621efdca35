#include "runtime/generation/text_stream.h"

#include <span>
#include <string_view>

#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

namespace {

// What the tokenizer writes for bytes that are not a character (yet).
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// A character has at most four bytes. More tokens than that without one are bytes that will never
// become one.
constexpr size_t kLongestCharacter = 4;

}  // namespace

std::string TextStream::add(int32_t id) {
  ids_.push_back(id);
  const std::span<const int32_t> window = std::span(ids_).subspan(context_);
  const std::string before = tokenizer_->decode_output(window.first(shown_ - context_));
  const std::string after = tokenizer_->decode_output(window);

  const bool unfinished = after.ends_with(kReplacement) && ids_.size() - shown_ < kLongestCharacter;
  if (unfinished) return "";
  context_ = shown_;
  shown_ = ids_.size();
  return after.size() > before.size() ? after.substr(before.size()) : "";
}

}  // namespace okapi
