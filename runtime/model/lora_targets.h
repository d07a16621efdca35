// The projections of a layer that an adapter may change, and how peft names their tensors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/model/model_config.h"

namespace okapi {

/// Where in the network a projection lies; the value is its index among the seven.
enum class Projection : int32_t { q, k, v, o, gate, up, down };
inline constexpr int64_t kNProjections = 7;

/// "q_proj", "k_proj", ... in the order of Projection.
const std::vector<std::string>& lora_target_names();

/// "self_attn.q_proj", "mlp.down_proj": the module's name within its layer.
std::string projection_module(Projection projection);

/// Output and input features of a projection's weight.
struct ProjectionShape {
  int64_t rows = 0;
  int64_t columns = 0;
};
ProjectionShape projection_shape(const ModelConfig& config, Projection projection);

}  // namespace okapi
