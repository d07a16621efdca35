// Lines documents to learn from: rows, then several questions, each with its answer. Only the
// answers carry loss, since rows are noise; lengths vary, so that no distance is special; no
// document comes twice. Without any of the three the savanna models learned nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <okapi/plugin/dataset.hpp>

#include "plugins/datasets/lines/rows.h"
#include "plugins/datasets/lines/wording.h"

namespace lines {

struct TrainingOptions {
  Wording wording;
  RowOptions rows;
  int64_t min_size = 0;       ///< of a document: tokens if it is counted in tokens, else lines
  bool min_is_given = false;  ///< if not, it grows to what a document has at least
  int64_t max_size = 0;
  bool counts_tokens = false;
  int64_t min_questions = 1;
  int64_t max_questions = 1;
};

/// Throws okapi::Failure on parameters that contradict each other.
TrainingOptions training_options(const okapi::Params& params);

class Training {
 public:
  Training(const TrainingOptions& options, okapi::Host host, uint64_t seed);

  /// The compact style gives a text with the byte ranges of its answers, LongChat's a conversation
  /// whose every answer is the number alone. With BOS, and with EOS after each of a conversation's
  /// answers, it has no more tokens than its size.
  okapi::Record record(int64_t index) const;

 private:
  /// A piece of text; every second one is an answer.
  using Pieces = std::vector<std::string>;

  Pieces pieces(Rows& rows, int64_t n_rows, const std::vector<int64_t>& asked) const;
  int64_t n_tokens(const Pieces& pieces) const;
  void measure();
  Pieces fitting_pieces(Rows& rows, int64_t document) const;
  okapi::Record record_of(const Pieces& pieces) const;

  TrainingOptions options_;
  okapi::Host host_;
  uint64_t seed_;
  std::optional<okapi::Tokenizer> tokenizer_;
  int64_t frame_tokens_ = 0;  ///< of a document without rows and questions
  double row_tokens_ = 1;     ///< mean of a row
  double question_tokens_ = 1;
};

}  // namespace lines
