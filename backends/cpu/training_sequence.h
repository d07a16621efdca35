// The sequences of a training batch.
#pragma once

#include <algorithm>
#include <span>

#include "backends/training_checks.h"

namespace okapi::cpu {

inline std::span<const TrainingSequence>::iterator sequence_of_row(
    std::span<const TrainingSequence> sequences, int64_t row) {
  return std::partition_point(sequences.begin(), sequences.end(),
                              [&](const TrainingSequence& sequence) {
                                return sequence.first_row + sequence.n_tokens <= row;
                              });
}

}  // namespace okapi::cpu
