#include "plugins/datasets/lines/fit.h"

#include <algorithm>

#include <okapi/plugin/plugin.hpp>

namespace lines {

namespace {

constexpr int kGuesses = 16;  // after so many the gap is halved instead

/// Rows whose own counts add up to the room that `base` leaves.
int64_t guess_rows(const RowFitting& fitting, const RowFit& base, int64_t max_tokens) {
  int64_t n_rows = base.n_rows;
  int64_t n_tokens = base.n_tokens;
  while (n_rows < fitting.capacity) {
    n_tokens += fitting.n_tokens(fitting.row(n_rows));
    if (n_tokens > max_tokens) break;
    ++n_rows;
  }
  return n_rows;
}

}  // namespace

RowFit fit_rows(const RowFitting& fitting, int64_t max_tokens) {
  const auto measure = [&](int64_t n_rows) {
    return RowFit{n_rows, fitting.n_tokens(fitting.prompt(n_rows))};
  };

  const RowFit one = measure(1);
  okapi::require(one.n_tokens <= max_tokens,
                 "the prompt may have " + std::to_string(max_tokens) +
                     " tokens, and with a single line it has " + std::to_string(one.n_tokens),
                 "length");

  // `fits` does, `too_long` rows do not; a text's tokens need not be the sum of its rows' tokens.
  const int64_t most_rows = std::min(fitting.capacity, max_tokens);  // a row has at least a token
  RowFit fits = one;
  int64_t too_long = most_rows + 1;
  int64_t guess = guess_rows(fitting, one, max_tokens);
  for (int step = 0; too_long - fits.n_rows > 1; ++step) {
    if (step >= kGuesses) guess = fits.n_rows + (too_long - fits.n_rows) / 2;
    const RowFit tried = measure(std::clamp(guess, fits.n_rows + 1, too_long - 1));
    const int64_t per_row =
        std::max<int64_t>(1, (tried.n_tokens - one.n_tokens) / (tried.n_rows - one.n_rows));
    if (tried.n_tokens <= max_tokens) {
      fits = tried;
      guess = tried.n_rows + std::max<int64_t>(1, (max_tokens - tried.n_tokens) / per_row);
    } else {
      too_long = tried.n_rows;
      guess = tried.n_rows - std::max<int64_t>(1, (tried.n_tokens - max_tokens) / per_row);
    }
  }
  okapi::require(fits.n_rows < most_rows,
                 std::to_string(max_tokens) + " tokens take more than the " +
                     std::to_string(most_rows) +
                     " different lines that these labels give (UUID and LRT labels have no end)",
                 "labels");
  return fits;
}

}  // namespace lines
