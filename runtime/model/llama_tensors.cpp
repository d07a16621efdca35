#include "runtime/model/llama_tensors.h"

#include <string_view>

namespace okapi {

std::string layer_tensor_name(int64_t layer, const std::string& part) {
  return "model.layers." + std::to_string(layer) + "." + part + ".weight";
}

void for_each_llama_tensor(const ModelConfig& config,
                           const std::function<void(const ExpectedTensor&)>& visit) {
  const int64_t width = config.d_model;
  const int64_t q_rows = config.n_heads * config.head_dim;
  const int64_t kv_rows = config.n_kv_heads * config.head_dim;

  visit({"model.embed_tokens.weight", {config.vocab_size, width}});
  if (!config.tied_embeddings) visit({"lm_head.weight", {config.vocab_size, width}});
  visit({"model.norm.weight", {width}});

  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    visit({layer_tensor_name(layer, "input_layernorm"), {width}});
    visit({layer_tensor_name(layer, "self_attn.q_proj"), {q_rows, width}});
    visit({layer_tensor_name(layer, "self_attn.k_proj"), {kv_rows, width}});
    visit({layer_tensor_name(layer, "self_attn.v_proj"), {kv_rows, width}});
    visit({layer_tensor_name(layer, "self_attn.o_proj"), {width, q_rows}});
    visit({layer_tensor_name(layer, "post_attention_layernorm"), {width}});
    visit({layer_tensor_name(layer, "mlp.gate_proj"), {config.d_ff, width}});
    visit({layer_tensor_name(layer, "mlp.up_proj"), {config.d_ff, width}});
    visit({layer_tensor_name(layer, "mlp.down_proj"), {width, config.d_ff}});
  }
}

bool is_redundant_llama_tensor(const ModelConfig& config, const std::string& name) {
  constexpr std::string_view kFrequencies = ".rotary_emb.inv_freq";
  return std::string_view(name).ends_with(kFrequencies) ||
         (config.tied_embeddings && name == "lm_head.weight");
}

}  // namespace okapi
