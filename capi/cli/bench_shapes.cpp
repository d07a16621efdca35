#include "capi/cli/bench_shapes.h"

#include <cstdint>

#include <nlohmann/json.hpp>

#include "capi/lua/c_api.h"

namespace okapi::cli {

namespace {

struct Shape {
  const char* name;
  int64_t n_layers, d_model, n_heads, n_kv_heads, d_ff, vocab_size, max_length;
  double base;
  bool tied_embeddings = true;
};

constexpr Shape kShapes[] = {
    {"smollm2-135m", 30, 576, 9, 3, 1536, 49152, 8192, 100000},
    {"smollm2-360m", 32, 960, 15, 5, 2560, 49152, 8192, 100000},
    {"tinyllama-1.1b", 22, 2048, 32, 4, 5632, 32000, 2048, 10000, false},
    {"llama2-7b", 32, 4096, 32, 32, 11008, 32000, 4096, 10000, false},
    {"llama2-13b", 40, 5120, 40, 40, 13824, 32000, 4096, 10000, false},
};

}  // namespace

std::vector<std::string> bench_shapes() {
  std::vector<std::string> names;
  for (const Shape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

std::string bench_config(const std::string& name) {
  for (const Shape& shape : kShapes) {
    if (shape.name != name) continue;
    const nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                                   {"model_type", "llama"},
                                   {"num_hidden_layers", shape.n_layers},
                                   {"hidden_size", shape.d_model},
                                   {"num_attention_heads", shape.n_heads},
                                   {"num_key_value_heads", shape.n_kv_heads},
                                   {"intermediate_size", shape.d_ff},
                                   {"vocab_size", shape.vocab_size},
                                   {"max_position_embeddings", shape.max_length},
                                   {"rope_theta", shape.base},
                                   {"rms_norm_eps", 1e-5},
                                   {"hidden_act", "silu"},
                                   {"tie_word_embeddings", shape.tied_embeddings}};
    return config.dump();
  }
  throw api::invalid("there is no shape named " + name, "shape");
}

}  // namespace okapi::cli
