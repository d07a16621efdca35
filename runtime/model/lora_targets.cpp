#include "runtime/model/lora_targets.h"

#include "runtime/base/error.h"

namespace okapi {

const std::vector<std::string>& lora_target_names() {
  static const std::vector<std::string> kNames = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                  "gate_proj", "up_proj", "down_proj"};
  return kNames;
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

}  // namespace okapi
