#include "capi/lua/suggestion.h"

#include <algorithm>

namespace okapi::api {

// Edits between two words: a letter added, dropped or replaced, or two neighbours exchanged
// (optimal string alignment).
static size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> table(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) table[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) table[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = table[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      table[i][j] = std::min({replaced, table[i - 1][j] + 1, table[i][j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        table[i][j] = std::min(table[i][j], table[i - 2][j - 2] + 1);
      }
    }
  }
  return table[a.size()][b.size()];
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& known) {
  constexpr size_t kShortWord = 4;
  size_t best_distance = word.size() <= kShortWord ? 2 : 3;
  std::string best;
  for (const std::string& candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string unknown_word_message(const std::string& what, std::string_view word,
                                 const std::vector<std::string>& known) {
  std::string message = "unknown " + what + " '" + std::string(word) + "'";
  const std::string nearest = nearest_word(word, known);
  if (!nearest.empty()) message += " (did you mean '" + nearest + "'?)";
  message += known.empty() ? "; there are none" : "; known are ";
  for (size_t i = 0; i < known.size(); ++i) message += (i == 0 ? "" : ", ") + known[i];
  return message;
}

}  // namespace okapi::api
