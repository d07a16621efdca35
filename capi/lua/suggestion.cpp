#include "capi/lua/suggestion.h"

#include <algorithm>
#include <numeric>

namespace okapi::api {

// Levenshtein's distance, by rows.
static size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
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
