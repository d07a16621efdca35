#include "runtime/plugin_host/text_fit.h"

#include <algorithm>
#include <string>

#include "runtime/base/error.h"

namespace okapi {

namespace {

// Pieces of a prompt are alike, so a straight line through two counts nearly always lands beside
// the answer. After this many steps the search halves instead, for pieces that are not.
constexpr int kLineSteps = 6;

}  // namespace

TextFit fit_pieces(const TokenizerFunctions& tokenizer, std::string_view head,
                   std::span<const char* const> pieces, std::string_view tail, bool add_bos,
                   int64_t max_tokens) {
  const auto count = [&](int64_t n_pieces) {
    std::string text(head);
    for (int64_t i = 0; i < n_pieces; ++i) text += pieces[static_cast<size_t>(i)];
    text += tail;
    return static_cast<int64_t>(tokenizer.encode(text, add_bos).size());
  };

  TextFit fits{0, count(0)};
  if (fits.n_tokens > max_tokens) {
    throw Error(Code::out_of_range, "the text without any piece has " +
                                        std::to_string(fits.n_tokens) + " tokens, wanted at most " +
                                        std::to_string(max_tokens))
        .field("max_tokens");
  }

  // Doubling finds a count that is too large without encoding much more than the answer.
  const auto n_all = static_cast<int64_t>(pieces.size());
  TextFit too_long{n_all + 1, 0};
  for (int64_t n = 1; fits.n_pieces < n_all && too_long.n_tokens == 0; n *= 2) {
    const TextFit probe{std::min(n, n_all), count(std::min(n, n_all))};
    (probe.n_tokens <= max_tokens ? fits : too_long) = probe;
  }

  for (int step = 0; too_long.n_tokens > 0 && too_long.n_pieces - fits.n_pieces > 1; ++step) {
    const int64_t gap = too_long.n_pieces - fits.n_pieces;
    const int64_t more_tokens = std::max<int64_t>(1, too_long.n_tokens - fits.n_tokens);
    const int64_t on_line = (max_tokens - fits.n_tokens) * gap / more_tokens;
    // When the line says "no further", the next piece is tried: it ends the search if that is so.
    const int64_t ahead = step < kLineSteps ? std::clamp<int64_t>(on_line, 1, gap - 1) : gap / 2;
    const TextFit probe{fits.n_pieces + ahead, count(fits.n_pieces + ahead)};
    (probe.n_tokens <= max_tokens ? fits : too_long) = probe;
  }
  return fits;
}

}  // namespace okapi
