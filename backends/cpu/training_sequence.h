// The sequences of a training batch and the heads of its rows: what the operations ask of them.
#pragma once

#include <algorithm>
#include <span>

#include "backends/training.h"

namespace okapi::cpu {

void check_heads(const char* what, const HeadLayout& heads);

/// They follow one another over exactly n_rows rows, and their rotations fit.
void check_training_sequences(const char* what, int64_t n_rows, const HeadLayout& heads,
                              std::span<const TrainingSequence> sequences);

inline std::span<const TrainingSequence>::iterator sequence_of_row(
    std::span<const TrainingSequence> sequences, int64_t row) {
  return std::partition_point(sequences.begin(), sequences.end(),
                              [&](const TrainingSequence& sequence) {
                                return sequence.first_row + sequence.n_tokens <= row;
                              });
}

}  // namespace okapi::cpu
