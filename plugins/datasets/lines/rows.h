// The rows of one document: distinct labels, each with a number. A row depends on (options, seed,
// document, row) alone, so that a longer document begins with a shorter one.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include <okapi/plugin/plugin.hpp>

namespace lines {

enum class Style {
  longchat,  ///< LongChat's header, rows and question
  compact,   ///< the savanna models': rows, then a question that the model completes
};
Style style_named(std::string_view name);  ///< throws okapi::Failure
inline constexpr const char* kStyles = "longchat|compact";

enum class Labels {
  words,    ///< adjective-noun
  counted,  ///< 1, 2, 3, ...
  letters,  ///< AAAAAA, AAAAAB, ...: six letters of A to F or, for more lines, as many as it takes
  uuid,     ///< random ones, version 4
};
Labels labels_named(std::string_view name);
inline constexpr const char* kLabelModes = "NL|LRT|ABC|UUID";  // LongChat's names

struct RowOptions {
  Style style = Style::longchat;
  Labels labels = Labels::words;
  int64_t most_rows =
      1;  ///< an upper bound of the rows that will be asked for: letters widen with it
};

/// Streams of random numbers that a document uses: the question does not change with its rows.
enum class Stream : uint64_t { labels = 0, numbers = 1, question = 2, training = 3 };
okapi::Random random_of(const okapi::Host& host, uint64_t seed, int64_t document, Stream stream);

class Rows {
 public:
  static constexpr int64_t kSmallestNumber = 1;
  static constexpr int64_t kLargestNumber = 50'000;

  Rows(const RowOptions& options, const okapi::Host& host, uint64_t seed, int64_t document);

  /// How many rows have different labels.
  int64_t capacity() const { return capacity_; }

  /// Rows 0 .. row are drawn when first asked for. Throws okapi::Failure past the capacity. The
  /// label lives as long as the rows.
  const std::string& label(int64_t row);
  int64_t number(int64_t row);

 private:
  void draw_up_to(int64_t row);
  std::string make_label(int64_t row);
  std::string random_uuid();

  RowOptions options_;
  okapi::Random label_draws_;
  okapi::Random number_draws_;
  int64_t capacity_ = 0;
  int n_letters_ = 0;
  std::vector<uint32_t>
      first_order_;  // words: shuffled adjectives, or of pairs in the compact style
  std::vector<uint32_t> second_order_;  // words: shuffled nouns
  std::deque<std::string> labels_;      // references to labels outlive further drawing
  std::vector<int64_t> numbers_;
};

}  // namespace lines
