// The words around the rows, kept to the byte: models and published figures depend on them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "plugins/datasets/lines/rows.h"

namespace lines {

/// LongChat's (LongEval, coarse and fine: DachengLi1/LongChat, Apache-2.0).
inline constexpr std::string_view kLongchatHeader =
    "Below is a record of lines I want you to remember. Each line begins with 'line <line index>' "
    "and "
    "contains a '<REGISTER_CONTENT>' at the end of the line as a numerical value. For each line "
    "index, "
    "memorize its corresponding <REGISTER_CONTENT>. At the end of the record, I will ask you to "
    "retrieve the corresponding <REGISTER_CONTENT> of a certain line index. Now the record "
    "start:\n\n";
inline constexpr std::string_view kLongchatQuestion =
    "\nNow the record is over. Tell me what is the <REGISTER_CONTENT> in line ";
inline constexpr std::string_view kLongchatEnd = "? I need the number.";

/// The savanna models'.
inline constexpr std::string_view kCompactQuestion = "What is the REGISTER_CONTENT in line ";
inline constexpr std::string_view kCompactEnd = "? <";

/// Vicuna's chat template, version 1.1, around one user turn; the answer follows without a space.
inline constexpr std::string_view kVicunaBegin =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. USER: ";
inline constexpr std::string_view kVicunaEnd = " ASSISTANT:";

std::string row_text(std::string_view label, int64_t number);

struct Wording {
  Style style = Style::longchat;
  bool trailing_space = false;  ///< after LongChat's question, as in its files of 200 to 680 lines
  bool in_vicuna_template = false;
};

/// The first `n_rows` rows and the question for row `asked`.
std::string prompt_text(const Wording& wording, Rows& rows, int64_t n_rows, int64_t asked);

/// A prompt as it is, or within the template.
std::string in_template(const Wording& wording, std::string prompt);

}  // namespace lines
