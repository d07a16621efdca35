// The projections of a layer that an adapter may change: how peft names their tensors, and where
// they lie among the matrices that kernels multiply by.
#pragma once

#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/model/model_config.h"

namespace okapi {

/// Where in the network a projection lies; the value is its index among the seven.
enum class Projection : int32_t { q, k, v, o, gate, up, down };
inline constexpr Projection kProjections[] = {Projection::q,   Projection::k,    Projection::v,
                                              Projection::o,   Projection::gate, Projection::up,
                                              Projection::down};
inline constexpr int64_t kNProjections = std::size(kProjections);

/// "q_proj", "k_proj", ... in the order of Projection.
const std::vector<std::string>& lora_target_names();

/// The one so named, without its module; none if no projection is.
std::optional<Projection> projection_named(std::string_view name);

/// "self_attn.q_proj", "mlp.down_proj": the module's name within its layer.
std::string projection_module(Projection projection);

/// Output and input features of a projection's weight.
struct ProjectionShape {
  int64_t rows = 0;
  int64_t columns = 0;
};
ProjectionShape projection_shape(const ModelConfig& config, Projection projection);

/// The matrices of a layer. What has the same input is fused: the outputs of q, k and v are columns
/// of one product, those of gate and up of another.
enum class LayerMatrix : int32_t { qkv, out, gate_up, down };
inline constexpr int64_t kNLayerMatrices = 4;

struct ProjectionPlace {
  LayerMatrix matrix = LayerMatrix::qkv;
  int64_t first_column = 0;  ///< of the matrix's output
};
ProjectionPlace projection_place(const ModelConfig& config, Projection projection);

/// Heads of a projection whose outputs are rotated, so that its rows stand in a pair layout; 0
/// where they are not.
int64_t n_rotated_heads(const ModelConfig& config, Projection projection);

}  // namespace okapi
