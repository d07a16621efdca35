// The windows of one optimizer step, cut into micro batches.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/data/window_source.h"
#include "runtime/training/trainer_config.h"

namespace okapi {

/// Windows one after another as rows of tokens. Every token but a window's last is an input.
struct MicroBatch {
  std::vector<int32_t> ids;      ///< [T]
  std::vector<int32_t> targets;  ///< [T] the next token, or -1 where it is not learned
  std::vector<float> weights;    ///< [T]
  std::vector<int64_t> lengths;  ///< [n_windows] inputs of each
  int64_t first_window = 0;      ///< number of the first one within the step
};

struct StepBatch {
  std::vector<MicroBatch> micro;
  std::vector<std::string> identities;  ///< of the windows
  int64_t n_windows = 0;
  int64_t n_tokens = 0;   ///< inputs
  int64_t n_learned = 0;  ///< tokens that carry loss
};

/// The windows from number `position` on that make up a step. Weights are 1 / n_learned, so that
/// the weighted losses of all micro batches sum to the mean loss of the step. Throws
/// invalid_argument naming a window that is malformed or longer than `length`, failed_precondition
/// when no token of the step is learned.
StepBatch read_step(const WindowSource& source, int64_t position, const BatchConfig& batch,
                    int64_t length, int64_t vocab_size);

/// `n` windows as one micro batch, with weights of 1: for evaluation.
MicroBatch read_windows(const WindowSource& source, int64_t position, int64_t n,
                        int64_t vocab_size);

}  // namespace okapi
