#include "runtime/model/lora_targets.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace okapi {

const std::vector<std::string>& lora_target_names() {
  static const std::vector<std::string> kNames = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                  "gate_proj", "up_proj", "down_proj"};
  return kNames;
}

std::optional<Projection> projection_named(std::string_view name) {
  const std::vector<std::string>& known = lora_target_names();
  const auto found = std::find(known.begin(), known.end(), name);
  if (found == known.end()) return std::nullopt;
  return static_cast<Projection>(found - known.begin());
}

std::string projection_module(Projection projection) {
  const bool in_attention = projection <= Projection::o;
  return std::string(in_attention ? "self_attn." : "mlp.") +
         lora_target_names()[static_cast<size_t>(projection)];
}

ProjectionShape projection_shape(const ModelConfig& config, Projection projection) {
  const int64_t q_width = config.n_heads * config.head_dim;
  const int64_t kv_width = config.n_kv_heads * config.head_dim;
  switch (projection) {
    case Projection::q:
      return {q_width, config.d_model};
    case Projection::k:
    case Projection::v:
      return {kv_width, config.d_model};
    case Projection::o:
      return {config.d_model, q_width};
    case Projection::gate:
    case Projection::up:
      return {config.d_ff, config.d_model};
    case Projection::down:
      return {config.d_model, config.d_ff};
  }
  throw Error(Code::internal, "a projection without a shape");
}

ProjectionPlace projection_place(const ModelConfig& config, Projection projection) {
  const int64_t q_width = config.n_heads * config.head_dim;
  const int64_t kv_width = config.n_kv_heads * config.head_dim;
  switch (projection) {
    case Projection::q:
      return {LayerMatrix::qkv, 0};
    case Projection::k:
      return {LayerMatrix::qkv, q_width};
    case Projection::v:
      return {LayerMatrix::qkv, q_width + kv_width};
    case Projection::o:
      return {LayerMatrix::out, 0};
    case Projection::gate:
      return {LayerMatrix::gate_up, 0};
    case Projection::up:
      return {LayerMatrix::gate_up, config.d_ff};
    case Projection::down:
      return {LayerMatrix::down, 0};
  }
  throw Error(Code::internal, "a projection without a place");
}

int64_t n_rotated_heads(const ModelConfig& config, Projection projection) {
  switch (projection) {
    case Projection::q:
      return config.n_heads;
    case Projection::k:
      return config.n_kv_heads;
    default:
      return 0;
  }
}

}  // namespace okapi
