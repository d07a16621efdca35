// What a run will take, from its configuration and config.json alone: nothing is allocated, no
// weight is read.
//
//   const TrainingPlan plan = plan_training(context, config);
//   if (!plan.fits()) std::puts(plan.text().c_str());
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/runtime_context.h"
#include "runtime/training/trainer.h"
#include "runtime/training/trainer_config.h"

namespace okapi {

struct PlanOptions {
  uint64_t available_bytes = 0;  ///< memory there is; 0: what the machine has free now
  double gflops = 0;             ///< of products; 0: measured now on the context's backend
  /// Tokens of the longest window, where neither batch.length nor data.length says it; 0: unknown.
  int64_t length = 0;
};

struct TrainingPlan {
  uint64_t n_parameters = 0;  ///< of the model
  uint64_t n_trained = 0;     ///< of them and of the adapter
  bool recomputes = false;
  int64_t micro_tokens = 0;  ///< of one micro batch
  int64_t step_tokens = 0;
  int64_t n_steps = 0;  ///< -1: depends on the data

  TrainerMemory memory;
  uint64_t logits_bytes = 0;     ///< chunks of the loss
  uint64_t attention_bytes = 0;  ///< what attention gathers and sums up on the way
  uint64_t available_bytes = 0;

  double flops_per_step = 0;  ///< of products and attention, recomputation included
  /// What a step cannot do without: each product forward, towards its input and, where that is
  /// trained, towards its weight; nothing twice. The measure of speed.
  double useful_flops_per_step = 0;
  double gflops = 0;  ///< the rate they are expected at
  double seconds_per_step = 0;
  double checkpoint_bytes = 0;

  /// What would make it fit, each with what it would need then.
  struct Remedy {
    std::string change;  ///< "batch.micro: 1"
    uint64_t bytes = 0;
  };
  std::vector<Remedy> remedies;

  uint64_t total_bytes() const { return memory.total() + logits_bytes + attention_bytes; }
  bool fits() const { return total_bytes() <= available_bytes; }
  double seconds() const { return static_cast<double>(n_steps) * seconds_per_step; }

  Json json() const;
  std::string text() const;  ///< a table for people
};

/// Throws as reading the configuration does. `context` is used for the measured rate only, and may
/// be null when `gflops` is given.
TrainingPlan plan_training(const std::shared_ptr<RuntimeContext>& context,
                           const TrainerConfig& config, const PlanOptions& options = {});

}  // namespace okapi
