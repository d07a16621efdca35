// Everything a training run is told, read from JSON with every key checked.
//
//   const TrainerConfig config = TrainerConfig::from_json(json, "configs/extend.yaml");
//
// The schema, with the values that hold where a key is absent. Faces that read YAML, Lua tables or
// C structs hand over the same tree.
//
//   model       "models/savanna-5m"   a Hugging Face folder; required
//   init        "checkpoint"          its weights; or {"random": {"deviation": 0.02,
//               "scale_residual": false}}: fresh normal ones of `seed`, with config.json and the
//               tokenizer alone read from the folder. deviation: config.json's initializer_range;
//               scale_residual: o_proj and down_proj are drawn smaller by sqrt(2 n_layers)
//   seed        0                     of everything drawn: weights, adapters, dropout, positions
//   steps       required              optimizer steps in all; or `epochs`, a number, where the
//                                     dataset ends
//   rope        {"train": "", "eval": "", "length": 0, "schedule": []}
//     train     ""                    a rope's text; "": that of the folder's config.json
//     eval      ""                    evaluated with and written to checkpoints; "": as `train`
//     length    0                     declared length of ropes that depend on it; 0: batch.length
//     schedule  [{"scheme": "xpos", "parameter": "scale_base", "from": 8192, "to": 128,
//                 "by": 8, "every": 1}]
//                                     after each `every` steps the value moves by `by` towards `to`
//               [{"scheme": "linear", "parameter": "scale", "at": [[0, 1], [500, 2], [900, 4]]}]
//                                     from each step on, the value beside it; before the first one
//                                     the parameter is what `train` says
//   parameters  {"train": ["all"], "groups": []}
//     train     words and patterns    all: every tensor of the model; lora: the adapter; norm;
//                                     embed: embedding and output. Anything else is a pattern over
//                                     tensor names in which * and ? stand for any characters.
//                                     Default: lora if there is one, else all
//     groups    [{"match": ["norm"], "learning_rate_factor": 1, "weight_decay": 0}]
//                                     options of the tensors that match; the first match counts
//   lora        absent                {"rank": 8, "alpha": 16, "dropout": 0, "targets": all seven,
//                                     "from": "folder"}; `from`: start with a peft folder, whose
//                                     rank, alpha and targets then hold
//   optimizer   {"learning_rate": required, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8,
//                "weight_decay": 0, "decay_vectors": true, "clip": 1}
//     decay_vectors                   whether tensors of one dimension (norms) decay too
//     clip                            largest global norm of the gradient; 0: no limit
//   schedule    {"kind": "constant", "warmup": 0, "floor": 0}
//     kind      constant, linear or cosine; falls to `floor` (a share of the learning rate) at the
//               last step, after `warmup` steps of linear rise
//   batch       {"sequences": required, "micro": 0, "length": 0}
//     sequences windows in a step; or `tokens`: as many windows as hold that many tokens
//     micro     0                     windows computed at once; 0: all of the step
//     length    0                     most tokens of a window; 0: what the data say
//   data        absent                handed to the data layer as it is
//   recompute   "auto"                true: activations of a layer are computed again in the
//                                     backward pass; auto: when those of a micro batch would take
//                                     more than half of the memory that parameters leave
//   compute_dtype "auto"              what products and activations are computed in: f32, or bf16
//                                     with f32 masters of the weights; auto: what suits the backend
//   deterministic true                the same run gives the same bytes; false: a backend may add
//                                     gradients in the order in which they are ready, where that is
//                                     faster
//   base_dtype  "auto"                of weights that are not trained: f32, bf16; auto: as the
//                                     file, but bf16 if that is computed in
//   pair_layout "half_split"          how rotary pairs lie in the rows of q and k: half_split or
//               interleaved; files keep what they have
//   checkpoint  {"folder": "", "every": 0, "keep": 2, "keep_best": true, "dtype": "f32"}
//     folder    ""                    nothing is saved
//     every     0                     steps; 0: at the end and when cancelled
//     keep      2                     the newest so many; 0: all. keep_best: also the one with the
//               lowest evaluation loss
//     dtype     f32                   of the model's file; with bf16 the f32 masters lie beside it
//   evaluation  {"every": 0, "windows": 0, "bucket": 512, "data": absent}
//     every     0                     steps; 0: never by itself. windows: how many; 0: all
//     bucket    512                   tokens of a position bucket
//   divergence  {"nats": 3, "steps": 8}
//                                     the run stops when the mean loss of the last `steps` steps
//                                     exceeds the lowest such mean by more than `nats`; 0: never
//   results     ""                    a results database that receives the curves
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
