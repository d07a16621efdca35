#include "tests/support/tiny_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>

#include "runtime/base/file.h"
#include "runtime/base/random.h"
#include "runtime/model/host_tensor.h"
#include "runtime/model/llama_tensors.h"
#include "runtime/model/safetensors.h"

namespace okapi::test {

namespace {

float round_to(DType dtype, float value) {
  switch (dtype) {
    case DType::f16:
      return from_f16(to_f16(value));
    case DType::bf16:
      return from_bf16(to_bf16(value));
    default:
      return value;
  }
}

HostTensor to_tensor(DType dtype, const std::vector<int64_t>& shape,
                     const std::vector<float>& values) {
  HostTensor tensor =
      shape.size() == 1 ? HostTensor(dtype, {shape[0]}) : HostTensor(dtype, {shape[0], shape[1]});
  void* data = tensor.view().data;
  for (size_t i = 0; i < values.size(); ++i) {
    switch (dtype) {
      case DType::f16:
        static_cast<uint16_t*>(data)[i] = to_f16(values[i]);
        break;
      case DType::bf16:
        static_cast<uint16_t*>(data)[i] = to_bf16(values[i]);
        break;
      case DType::f32:
        static_cast<float*>(data)[i] = values[i];
        break;
      default:
        throw std::invalid_argument("tiny models are f32, f16 or bf16");
    }
  }
  return tensor;
}

ModelConfig config_of(const TinyModel& model) {
  ModelConfig config;
  config.n_layers = model.n_layers;
  config.d_model = model.d_model;
  config.d_ff = model.d_ff;
  config.vocab_size = model.vocab_size;
  config.n_heads = model.n_heads;
  config.n_kv_heads = model.n_kv_heads;
  config.head_dim = model.head_dim;
  config.tied_embeddings = model.tied_embeddings;
  return config;
}

std::vector<float> random_values(const ExpectedTensor& tensor, DType dtype, Random& random) {
  int64_t count = 1;
  for (const int64_t dim : tensor.shape) count *= dim;
  const bool is_norm = tensor.shape.size() == 1;
  // A uniform number in [-1, 1) has deviation 1 / sqrt(3).
  const double scale = is_norm ? 0.2 : std::sqrt(3.0 / static_cast<double>(tensor.shape.back()));

  std::vector<float> values;
  values.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const double value = (2.0 * random.uniform() - 1.0) * scale + (is_norm ? 1.0 : 0.0);
    values.push_back(round_to(dtype, static_cast<float>(value)));
  }
  return values;
}

}  // namespace

uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

float from_f16(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int fraction = bits & 1023;
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(fraction), -24)
                              : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

uint16_t to_f16(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  int exponent = 0;
  std::frexp(value, &exponent);
  // A unit in the last place is 2^(exponent - 11) for normal numbers and 2^-24 below.
  const int unit = std::max(exponent - 11, -24);
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(std::fabs(value), -unit)));
  if (unit == -24) return static_cast<uint16_t>(sign | steps);
  return static_cast<uint16_t>(sign | ((unit + 24) * 1024 + steps));
}

Json tiny_model_config(const TinyModel& model) {
  Json config = {{"architectures", {"LlamaForCausalLM"}},
                 {"model_type", "llama"},
                 {"num_hidden_layers", model.n_layers},
                 {"hidden_size", model.d_model},
                 {"intermediate_size", model.d_ff},
                 {"vocab_size", model.vocab_size},
                 {"num_attention_heads", model.n_heads},
                 {"num_key_value_heads", model.n_kv_heads},
                 {"head_dim", model.head_dim},
                 {"max_position_embeddings", model.trained_length},
                 {"rms_norm_eps", model.rms_norm_eps},
                 {"hidden_act", "silu"},
                 {"tie_word_embeddings", model.tied_embeddings},
                 {"rope_parameters", model.rope_parameters},
                 {"bos_token_id", 1},
                 {"eos_token_id", 2}};
  config.merge_patch(model.more_config);
  return config;
}

std::map<std::string, std::vector<float>> tiny_model_weights(const TinyModel& model) {
  std::map<std::string, std::vector<float>> weights;
  uint64_t stream = 0;
  for_each_llama_tensor(config_of(model), [&](const ExpectedTensor& tensor) {
    Random random(model.seed, stream++);
    weights[tensor.name] = random_values(tensor, model.dtype, random);
  });
  return weights;
}

void write_tiny_model(const std::filesystem::path& folder, const TinyModel& model) {
  write_file_atomically(folder / "config.json", tiny_model_config(model).dump(2));

  const std::map<std::string, std::vector<float>> weights = tiny_model_weights(model);
  const auto n_shards = static_cast<size_t>(model.n_shards);
  std::vector<HostTensor> tensors;  // keeps what the views show
  std::vector<std::vector<std::pair<std::string, ConstTensorView>>> shards(n_shards);
  for_each_llama_tensor(config_of(model), [&](const ExpectedTensor& tensor) {
    tensors.push_back(to_tensor(model.dtype, tensor.shape, weights.at(tensor.name)));
    shards[(tensors.size() - 1) % n_shards].emplace_back(
        tensor.name, static_cast<const HostTensor&>(tensors.back()).view());
  });

  if (n_shards == 1) {
    write_safetensors(folder / "model.safetensors", shards[0], {{"format", "pt"}});
  } else {
    Json weight_map = Json::object();
    int64_t total_size = 0;
    for (size_t i = 0; i < n_shards; ++i) {
      const std::string file = "model-" + std::to_string(i + 1) + ".safetensors";
      write_safetensors(folder / file, shards[i], {{"format", "pt"}});
      for (const auto& [name, view] : shards[i]) {
        weight_map[name] = file;
        total_size += view.count() * static_cast<int64_t>(size_of(view.dtype));
      }
    }
    const Json index = {{"metadata", {{"total_size", total_size}}}, {"weight_map", weight_map}};
    write_file_atomically(folder / "model.safetensors.index.json", index.dump(2));
  }

  if (model.with_tokenizer) {
    if (model.vocab_size < 1024) throw std::invalid_argument("the tokenizer has 1024 pieces");
    std::filesystem::copy_file(
        std::filesystem::path(OKAPI_TEST_DATA) / "tokenizer" / "savanna.model",
        folder / "tokenizer.model", std::filesystem::copy_options::overwrite_existing);
  }
}

}  // namespace okapi::test
