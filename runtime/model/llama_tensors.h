// The tensors of a Llama checkpoint: their names, their shapes, and which others may lie beside
// them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/model/model_config.h"

namespace okapi {

struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;
};

/// Calls `visit` for every tensor the model needs, outer ones first, then layer by layer. One by
/// one, because the number of layers is not trusted yet.
void for_each_llama_tensor(const ModelConfig& config,
                           const std::function<void(const ExpectedTensor&)>& visit);

/// True for tensors that older software wrote and that nobody reads: the rotary frequencies of each
/// layer, which follow from the configuration, and an output projection beside tied embeddings,
/// which repeats them.
bool is_redundant_llama_tensor(const ModelConfig& config, const std::string& name);

/// "model.layers.3.self_attn.q_proj.weight" for (3, "self_attn.q_proj").
std::string layer_tensor_name(int64_t layer, const std::string& part);

}  // namespace okapi
