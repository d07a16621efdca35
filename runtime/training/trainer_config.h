// Everything a training run is told, read from JSON with every key checked.
//
//   const TrainerConfig config = TrainerConfig::from_json(json, "configs/extend.yaml");
//
// <okapi/trainer.h> has the schema, with the values that hold where a key is absent. Faces that
// read YAML, Lua tables or C structs hand over the same tree.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backends/tensor_view.h"
#include "runtime/base/error.h"
#include "runtime/base/json.h"
#include "runtime/model/model_config.h"

namespace okapi {

struct RopeScheduleConfig {
  std::string scheme;     ///< its name in the list
  std::string parameter;  ///< of that scheme
  /// Moving: from, to, by, every.
  double from = 0;
  double to = 0;
  double by = 0;
  int64_t every = 1;
  /// Or given: (step, value), ascending.
  std::vector<std::pair<int64_t, double>> at;

  bool operator==(const RopeScheduleConfig&) const = default;
};

struct RopeTrainingConfig {
  std::string train;
  std::string eval;
  int64_t length = 0;
  std::vector<RopeScheduleConfig> schedule;
};

struct RandomInitConfig {
  std::optional<double> deviation;
  bool scale_residual = false;
};

struct ParameterGroupConfig {
  std::vector<std::string> match;
  double learning_rate_factor = 1;
  std::optional<double> weight_decay;
};

struct LoraConfig {
  int64_t rank = 8;
  double alpha = 16;
  double dropout = 0;
  std::vector<std::string> targets;
  std::string from;  ///< a peft folder to start with
};

struct OptimizerConfig {
  double learning_rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool decay_vectors = true;
  double clip = 1;
};

enum class ScheduleKind { constant, linear, cosine };

struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::constant;
  int64_t warmup = 0;
  double floor = 0;
};

struct BatchConfig {
  int64_t sequences = 0;
  int64_t tokens = 0;  ///< one of the two is 0
  int64_t micro = 0;
  int64_t length = 0;
};

struct CheckpointConfig {
  std::string folder;
  int64_t every = 0;
  int64_t keep = 2;
  bool keep_best = true;
  DType dtype = DType::f32;
};

struct EvaluationConfig {
  int64_t every = 0;
  int64_t windows = 0;
  int64_t bucket = 512;
  Json data;
};

struct DivergenceConfig {
  double nats = 3;
  int64_t steps = 8;
};

struct TrainerConfig {
  std::string model;
  std::optional<RandomInitConfig> random_init;
  uint64_t seed = 0;
  int64_t steps = 0;
  double epochs = 0;  ///< one of the two is 0
  RopeTrainingConfig rope;
  std::vector<std::string> trained;  ///< words and patterns
  std::vector<ParameterGroupConfig> groups;
  std::optional<LoraConfig> lora;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  BatchConfig batch;
  Json data;
  std::optional<bool> recompute;       ///< none: by memory
  std::optional<DType> compute_dtype;  ///< none: what suits the backend
  bool deterministic = true;
  std::optional<DType> base_dtype;  ///< none: as the file, or as it is computed
  PairLayout pair_layout = PairLayout::half_split;
  CheckpointConfig checkpoint;
  EvaluationConfig evaluation;
  DivergenceConfig divergence;
  std::string results;

  /// Throws invalid_argument naming the key, and for one that is not known the known one nearest to
  /// it. `file` is where the JSON came from, for messages.
  static TrainerConfig from_json(const Json& json, const std::string& file = "");

  /// The whole tree, defaults included; reads back as the same configuration.
  Json json() const;

  /// What decides the numbers of a run, steps apart: two configurations with the same identity may
  /// continue each other's checkpoints.
  Json identity() const;
};

/// invalid_argument "<field>: <problem>": what a configuration that reads well throws when it does
/// not fit the model, the data or the backend.
Error bad_config(const std::string& field, const std::string& problem);

const char* name_of(ScheduleKind kind);

/// "f32" or "bf16".
const char* dtype_name(DType dtype);

}  // namespace okapi
