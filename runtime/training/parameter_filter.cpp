#include "runtime/training/parameter_filter.h"

#include <algorithm>

namespace okapi {

bool matches_pattern(std::string_view pattern, std::string_view name) {
  // Where to go on after the last star, should what follows it not fit here.
  size_t star = std::string_view::npos;
  size_t retry = 0;
  size_t p = 0;
  size_t n = 0;
  while (n < name.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n]) && pattern[p] != '*') {
      ++p;
      ++n;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      retry = n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++retry;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

bool selects_parameter(std::string_view word, std::string_view name, bool is_adapter) {
  if (word == "lora") return is_adapter;
  if (word == "all") return !is_adapter;
  if (word == "norm") {
    return !is_adapter && (name.ends_with("norm.weight") || name.ends_with("layernorm.weight"));
  }
  if (word == "embed") return name == "model.embed_tokens.weight" || name == "lm_head.weight";
  return matches_pattern(word, name);
}

bool selects_parameter(const std::vector<std::string>& words, std::string_view name,
                       bool is_adapter) {
  return std::any_of(words.begin(), words.end(), [&](const std::string& word) {
    return selects_parameter(word, name, is_adapter);
  });
}

}  // namespace okapi
