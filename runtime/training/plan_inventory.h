// What a run would train of a model, counted from the shapes of its tensors: no weight is read.
#pragma once

#include <cstdint>
#include <optional>

#include "backends/tensor_view.h"
#include "runtime/model/adapter.h"
#include "runtime/model/model_config.h"
#include "runtime/model/training_network.h"
#include "runtime/training/parameters.h"
#include "runtime/training/trainer_config.h"

namespace okapi {

struct PlanInventory {
  // Elements.
  uint64_t n_parameters = 0;    ///< of the model, without the adapter
  uint64_t n_trained = 0;       ///< of them and of the adapter
  uint64_t n_trained_base = 0;  ///< of them alone
  uint64_t n_mastered = 0;      ///< of matrices that have masters: what is fused is trained whole
  uint64_t n_multiplied = 0;    ///< trained weights that products have: not norms, not a lookup

  ParameterBytes bytes;  ///< as Parameters would take, but for `prepared`, which is the backend's
  /// Says what is trained by which views are empty; the others point nowhere and must not be read.
  TrainedNetwork network;
};

/// @param base_dtype  of matrices that are not trained
/// @param adapter     that is trained beside the model, on every layer; none if there is no adapter
PlanInventory take_inventory(const TrainerConfig& config, const ModelConfig& model,
                             DType base_dtype, const std::optional<AdapterShape>& adapter);

}  // namespace okapi
