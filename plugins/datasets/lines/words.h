// The words that labels are made of, as data: "torpid-kid".
#pragma once

#include <string_view>
#include <vector>

namespace lines {

/// General English, for LongChat's wording. As many lines as the shorter list has words draw each
/// word once, as LongChat's do. Collected for okapi.
const std::vector<std::string_view>& adjectives();
const std::vector<std::string_view>& nouns();

/// What the savanna models were trained on: each pair of these is a label.
const std::vector<std::string_view>& compact_adjectives();
const std::vector<std::string_view>& compact_nouns();

}  // namespace lines
