// What a checkpoint's folder holds: the model as a Hugging Face folder, the adapter as peft's, and
// what it takes to go on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "runtime/base/cancel.h"
#include "runtime/base/json.h"
#include "runtime/model/weights.h"
#include "runtime/training/parameters.h"

namespace okapi {

class Rope;

/// A run between two steps, apart from the weights.
struct TrainingState {
  int64_t step = 0;      ///< steps done
  int64_t position = 0;  ///< windows consumed
  int64_t n_tokens = 0;  ///< inputs seen
  int64_t n_learned = 0;
  Json divergence;
  int64_t best_step = -1;  ///< of the checkpoint with the lowest evaluation loss; -1: none
  double best_loss = 0;
  // What must be the same for a run to go on.
  Json identity;  ///< of the configuration
  std::string model_sha256;
  Json data;          ///< what the window source says of itself
  Json rope_plugins;  ///< id and version of each scheme, train and eval
  // For people and reports.
  Json config;
  std::string train_rope;  ///< canonical, as it is at this step
  std::string eval_rope;
};

/// Writes model.safetensors, config.json with `rope` in it, and copies of the tokenizer's files.
/// `source` gives the tensors that are not trained, `adapter` is merged into all of them if there
/// is one, `config` is the base's config.json. Cancelled between two tensors it leaves no model.
void write_model_folder(const std::filesystem::path& folder, const Parameters& parameters,
                        const WeightSource& source, const Adapter* adapter, const Json& config,
                        const Rope& rope, const std::filesystem::path& base_folder, DType dtype,
                        TrainingStream& stream, std::span<const CancelToken* const> cancels);

/// okapi_optimizer.safetensors: moments by parameter name, and the f32 masters where the model's
/// file does not hold them. Pairs lie as the kernels want them (half-split).
void write_optimizer(const std::filesystem::path& folder, const Parameters& parameters,
                     bool with_masters, TrainingStream& stream);

/// Reads values and moments back. Throws data_loss when a file lacks a tensor.
void read_parameters(const std::filesystem::path& folder, Parameters& parameters,
                     TrainingStream& stream);

/// okapi_training.json, with the hashes of all other files of the folder; to be written last.
void write_state(const std::filesystem::path& folder, const TrainingState& state);

/// Throws data_loss when it or a file that it names is missing or damaged.
TrainingState read_state(const std::filesystem::path& folder);

}  // namespace okapi
