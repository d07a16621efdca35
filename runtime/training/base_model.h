// The model, or the adapter beside it, that training starts from, and what both are computed in.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "backends/training.h"
#include "runtime/base/json.h"
#include "runtime/base/log.h"
#include "runtime/model/adapter.h"
#include "runtime/model/checkpoint.h"
#include "runtime/model/model_config.h"
#include "runtime/model/weights.h"
#include "runtime/training/trainer_config.h"

namespace okapi {

struct BaseModel {
  std::filesystem::path folder;
  Json config_json;
  ModelConfig config;
  WeightSource source;
  std::string sha256;  ///< of the checkpoint, or of what decides the fresh weights
  std::shared_ptr<const Checkpoint> checkpoint;  ///< null for fresh weights
};

/// @param n_threads  that draw fresh weights, which are the same for any number
BaseModel open_base(const TrainerConfig& config, int n_threads);

/// Warns of the model's own dropout, which is not applied: inference knows nothing of it, but who
/// trains with transformers has it.
void tell_of_dropout(const Logger& logger, const BaseModel& base);

/// What a run computes in. Throws invalid_argument if the backend, which trains, does not.
DType compute_dtype(const TrainerConfig& config, Backend& backend);

/// The adapter that training starts from; none without a lora section.
std::optional<Adapter> open_adapter(const TrainerConfig& config, const ModelConfig& model);

/// Its shape alone: a fresh adapter is not drawn for it.
std::optional<AdapterShape> adapter_shape(const TrainerConfig& config, const ModelConfig& model);

}  // namespace okapi
