#include "plugins/datasets/lines/wording.h"

namespace lines {

std::string row_text(std::string_view label, int64_t number) {
  return "line " + std::string(label) + ": REGISTER_CONTENT is <" + std::to_string(number) + ">\n";
}

std::string prompt_text(const Wording& wording, Rows& rows, int64_t n_rows, int64_t asked) {
  const bool is_longchat = wording.style == Style::longchat;
  std::string text;
  if (is_longchat) text += kLongchatHeader;
  for (int64_t row = 0; row < n_rows; ++row) text += row_text(rows.label(row), rows.number(row));
  text += is_longchat ? kLongchatQuestion : kCompactQuestion;
  text += rows.label(asked);
  text += is_longchat ? kLongchatEnd : kCompactEnd;
  if (is_longchat && wording.trailing_space) text += ' ';
  return in_template(wording, std::move(text));
}

std::string in_template(const Wording& wording, std::string prompt) {
  if (!wording.in_vicuna_template) return prompt;
  return std::string(kVicunaBegin) + prompt + std::string(kVicunaEnd);
}

}  // namespace lines
