// How many rows make a prompt of a wanted number of tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace lines {

struct RowFit {
  int64_t n_rows = 0;
  int64_t n_tokens = 0;  ///< of the prompt with that many rows
};

struct RowFitting {
  std::function<std::string(int64_t n_rows)> prompt;  ///< with the first so many rows, at least 1
  std::function<std::string(int64_t row)> row;        ///< one row alone
  std::function<int64_t(std::string_view text)> n_tokens;  ///< of a whole prompt
  int64_t capacity = 0;                                    ///< most rows there are
};

/// A number of rows with which the prompt has at most `max_tokens` tokens, while one row more has
/// more: never above the target and less than one row below it. Throws okapi::Failure if not even
/// one row fits, or if all rows together do.
///
/// Rows counted one by one lead to within a row or two; the prompt itself is encoded only there.
RowFit fit_rows(const RowFitting& fitting, int64_t max_tokens);

}  // namespace lines
