#include "runtime/data/token_document.h"

#include <algorithm>

#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

namespace {

constexpr size_t kMostPartBytes = size_t{1} << 18;

/// Where the character that holds byte `at` begins.
size_t character_begin(std::string_view text, size_t at) {
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

/// The last `n` characters.
std::string_view last_characters(std::string_view text, int n) {
  size_t begin = text.size();
  for (; n > 0 && begin > 0; --n) begin = character_begin(text, begin - 1);
  return text.substr(begin);
}

/// Bytes of the next part of a text that is too long for one.
size_t part_bytes(std::string_view text) {
  if (text.size() <= kMostPartBytes) return text.size();
  const size_t line_end = text.rfind('\n', kMostPartBytes - 1);
  if (line_end != std::string_view::npos) return line_end + 1;
  const size_t blank = text.rfind(' ', kMostPartBytes - 1);
  if (blank != std::string_view::npos && blank > 0) return blank;
  return character_begin(text, kMostPartBytes);
}

}  // namespace

void TokenDocument::append(std::span<const int32_t> more, bool is_learned) {
  auto begin = static_cast<uint32_t>(ids.size());
  ids.insert(ids.end(), more.begin(), more.end());
  const auto end = static_cast<uint32_t>(ids.size());
  begin = std::max<uint32_t>(begin, 1);  // nothing comes before the first token to predict it from
  if (!is_learned || begin >= end) return;
  if (!learned.empty() && learned.back().end == begin) {
    learned.back().end = end;
  } else {
    learned.push_back({begin, end});
  }
}

void TokenDocument::truncate(size_t n) {
  if (n >= ids.size()) return;
  ids.resize(n);
  while (!learned.empty() && learned.back().begin >= n) learned.pop_back();
  if (!learned.empty()) {
    learned.back().end = std::min(learned.back().end, static_cast<uint32_t>(n));
  }
}

std::vector<int32_t> encode_text(const Tokenizer& tokenizer, std::string_view text) {
  size_t done = part_bytes(text);
  std::vector<int32_t> ids = tokenizer.encode(text.substr(0, done), false);
  while (done < text.size()) {
    const size_t n = part_bytes(text.substr(done));
    const std::vector<int32_t> more =
        encode_continuation(tokenizer, text.substr(0, done), text.substr(done, n));
    ids.insert(ids.end(), more.begin(), more.end());
    done += n;
  }
  return ids;
}

std::vector<int32_t> encode_continuation(const Tokenizer& tokenizer, std::string_view before,
                                         std::string_view text) {
  // What comes before is cut to a few characters, since a token seldom reaches over the border.
  // Where one does, more of it may help; where that fails too, the text stands for itself.
  for (const int n_characters : {1, 16}) {
    const std::string_view anchor = last_characters(before, n_characters);
    if (anchor.empty()) break;
    const std::vector<int32_t> head = tokenizer.encode(anchor, false);
    std::vector<int32_t> both = tokenizer.encode(std::string(anchor).append(text), false);
    if (both.size() >= head.size() && std::equal(head.begin(), head.end(), both.begin())) {
      both.erase(both.begin(), both.begin() + static_cast<ptrdiff_t>(head.size()));
      return both;
    }
  }
  return tokenizer.encode(text, false);
}

}  // namespace okapi
