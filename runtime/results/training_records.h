// What the results store keeps of training: a run, its steps, its evaluations.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/json.h"

namespace okapi {

struct TrainingRun {
  Json identity;  ///< all that decides the numbers: two runs with the same identity are one
  Json info;      ///< what is worth knowing besides

  /// Names the run: SHA-256 over the canonical text of the identity.
  std::string sha256() const;
};

struct TrainingStep {
  int64_t step = 0;  ///< from 1
  double loss = 0;   ///< nats per learned token, before the step
  double gradient_norm = 0;
  double learning_rate = 0;
  int64_t n_tokens = 0;
  int64_t n_learned = 0;
  double seconds = 0;
  std::string rope;  ///< in force

  double tokens_per_second() const {
    return seconds > 0 ? static_cast<double>(n_tokens) / seconds : 0;
  }
};

/// Positions [first, last] of all windows of an evaluation.
struct LossBucket {
  int64_t first_position = 0;
  int64_t last_position = 0;
  double loss = 0;  ///< nats per token
  int64_t n_tokens = 0;
};

struct TrainingEvaluation {
  int64_t step = 0;  ///< steps done before
  double loss = 0;   ///< mean over all tokens
  int64_t n_tokens = 0;
  std::string rope;
  std::vector<LossBucket> buckets;
};

}  // namespace okapi
