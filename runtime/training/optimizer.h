// AdamW over the parameters of a run: groups, decay, clipping by the global norm.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/training/parameters.h"
#include "runtime/training/trainer_config.h"

namespace okapi {

class Optimizer {
 public:
  /// Throws invalid_argument when a group matches no parameter.
  Optimizer(const OptimizerConfig& config, const std::vector<ParameterGroupConfig>& groups,
            const Parameters& parameters);

  /// Euclidean norm of all gradients together.
  static double gradient_norm(const Parameters& parameters, TrainingStream& stream);

  /// Changes the values by the gradients, scaled down where `norm` exceeds the limit. `step` counts
  /// from 1.
  void apply(Parameters& parameters, double learning_rate, double norm, int64_t step,
             TrainingStream& stream) const;

 private:
  struct Options {
    double learning_rate_factor = 1;
    double weight_decay = 0;
  };

  OptimizerConfig config_;
  std::vector<Options> options_;  ///< of each parameter
};

}  // namespace okapi
