#include "plugins/datasets/lines/rows.h"

#include <limits>
#include <numeric>

#include "plugins/datasets/lines/words.h"

namespace lines {

namespace {

constexpr int kFewestLetters = 6;
constexpr std::string_view kLetters = "ABCDEF";

std::vector<uint32_t> shuffled(size_t n, okapi::Random& random) {
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0U);
  random.shuffle(std::span(order));
  return order;
}

}  // namespace

Style style_named(std::string_view name) {
  if (name == "longchat") return Style::longchat;
  okapi::require(name == "compact", "wanted longchat or compact, found '" + std::string(name) + "'",
                 "style");
  return Style::compact;
}

Labels labels_named(std::string_view name) {
  if (name == "LRT") return Labels::counted;
  if (name == "ABC") return Labels::letters;
  if (name == "UUID") return Labels::uuid;
  okapi::require(name == "NL", "wanted NL, LRT, ABC or UUID, found '" + std::string(name) + "'",
                 "labels");
  return Labels::words;
}

okapi::Random random_of(const okapi::Host& host, uint64_t seed, int64_t document, Stream stream) {
  return host.random(seed, static_cast<uint64_t>(document) * 4 + static_cast<uint64_t>(stream));
}

Rows::Rows(const RowOptions& options, const okapi::Host& host, uint64_t seed, int64_t document)
    : options_(options),
      label_draws_(random_of(host, seed, document, Stream::labels)),
      number_draws_(random_of(host, seed, document, Stream::numbers)),
      capacity_(std::numeric_limits<int64_t>::max()) {
  if (options_.labels == Labels::letters) {
    capacity_ = 1;
    while (n_letters_ < kFewestLetters || capacity_ < options_.most_rows) {
      capacity_ *= static_cast<int64_t>(kLetters.size());
      ++n_letters_;
    }
  }
  if (options_.labels != Labels::words) return;

  if (options_.style == Style::compact) {
    first_order_ = shuffled(compact_adjectives().size() * compact_nouns().size(), label_draws_);
    capacity_ = static_cast<int64_t>(first_order_.size());
  } else {
    // Row i takes word i of each list, again from the start where a list ends: by the Chinese
    // remainder theorem no pair comes twice before the least common multiple of the lengths.
    first_order_ = shuffled(adjectives().size(), label_draws_);
    second_order_ = shuffled(nouns().size(), label_draws_);
    capacity_ = static_cast<int64_t>(std::lcm(first_order_.size(), second_order_.size()));
  }
}

const std::string& Rows::label(int64_t row) {
  draw_up_to(row);
  return labels_[static_cast<size_t>(row)];
}

int64_t Rows::number(int64_t row) {
  draw_up_to(row);
  return numbers_[static_cast<size_t>(row)];
}

void Rows::draw_up_to(int64_t row) {
  okapi::require(row < capacity_,
                 "the labels give " + std::to_string(capacity_) + " different lines, wanted " +
                     std::to_string(row + 1) + " (UUID and LRT labels have no end)",
                 "labels");
  while (static_cast<int64_t>(labels_.size()) <= row) {
    labels_.push_back(make_label(static_cast<int64_t>(labels_.size())));
    numbers_.push_back(number_draws_.uniform_int(kSmallestNumber, kLargestNumber));
  }
}

std::string Rows::make_label(int64_t row) {
  const auto i = static_cast<size_t>(row);
  switch (options_.labels) {
    case Labels::counted:
      return std::to_string(row + 1);
    case Labels::uuid:
      return random_uuid();
    case Labels::letters: {
      std::string label(static_cast<size_t>(n_letters_), kLetters[0]);
      for (size_t at = label.size(), rest = i; rest > 0; rest /= kLetters.size()) {
        label[--at] = kLetters[rest % kLetters.size()];
      }
      return label;
    }
    case Labels::words:
      break;
  }

  std::string_view adjective;
  std::string_view noun;
  if (options_.style == Style::compact) {
    const size_t n_nouns = compact_nouns().size();
    adjective = compact_adjectives()[first_order_[i] / n_nouns];
    noun = compact_nouns()[first_order_[i] % n_nouns];
  } else {
    adjective = adjectives()[first_order_[i % first_order_.size()]];
    noun = nouns()[second_order_[i % second_order_.size()]];
  }
  return std::string(adjective) + "-" + std::string(noun);
}

std::string Rows::random_uuid() {
  constexpr std::string_view kDigits = "0123456789abcdef";
  uint64_t halves[2] = {label_draws_.next(), label_draws_.next()};
  halves[0] = (halves[0] & ~0xF000ULL) | 0x4000ULL;                // version 4: random
  halves[1] = (halves[1] & 0x3FFFFFFFFFFFFFFFULL) | (1ULL << 63);  // the variant of RFC 4122
  std::string text;
  for (int digit = 0; digit < 32; ++digit) {
    if (digit == 8 || digit == 12 || digit == 16 || digit == 20) text += '-';
    text += kDigits[halves[digit / 16] >> (60 - 4 * (digit % 16)) & 0xF];
  }
  return text;
}

}  // namespace lines
