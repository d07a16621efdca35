// What every backend asks of the arguments of training's operations.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "backends/checks.h"
#include "backends/training.h"

namespace okapi {

inline void check_heads(const char* what, const HeadLayout& heads) {
  check_heads(what, heads.n_heads, heads.n_kv_heads, heads.head_dim);
}

/// They follow one another over exactly n_rows rows, and their rotations fit.
inline void check_training_sequences(const char* what, int64_t n_rows, const HeadLayout& heads,
                                     std::span<const TrainingSequence> sequences) {
  const std::string name = what;
  int64_t row = 0;
  for (const TrainingSequence& sequence : sequences) {
    if (sequence.first_row != row || sequence.n_tokens < 1) {
      throw BackendError(name + ": wanted a sequence from row " + std::to_string(row) +
                         " on, found one of " + std::to_string(sequence.n_tokens) +
                         " tokens from row " + std::to_string(sequence.first_row) + " on");
    }
    row += sequence.n_tokens;
    const int64_t pairs = heads.head_dim / 2;
    check_rotation(name + ": query_rotation", sequence.query_rotation, sequence.n_tokens, pairs);
    check_rotation(name + ": key_rotation", sequence.key_rotation, sequence.n_tokens, pairs);
  }
  if (row != n_rows) {
    throw BackendError(name + ": the sequences have " + std::to_string(row) + " of " +
                       std::to_string(n_rows) + " rows");
  }
}

inline void check_loss_weights(std::span<const float> weights, size_t n_tokens) {
  if (weights.empty() || weights.size() == n_tokens) return;
  throw BackendError("cross_entropy: wanted " + std::to_string(n_tokens) + " weights, found " +
                     std::to_string(weights.size()));
}

}  // namespace okapi
