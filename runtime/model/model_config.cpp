#include "runtime/model/model_config.h"

#include <algorithm>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/base/json.h"
#include "runtime/model/known_config_keys.h"
#include "runtime/model/rope_from_config.h"

namespace okapi {

namespace {

constexpr const char* kConfigComponent = "model";

// Far above any model, and small enough that no product of sizes below overflows 64 bits.
constexpr int64_t kMaxLayers = int64_t{1} << 16;
constexpr int64_t kMaxWidth = int64_t{1} << 24;
constexpr int64_t kMaxHeads = int64_t{1} << 16;
constexpr int64_t kMaxHeadDim = int64_t{1} << 14;
constexpr int64_t kMaxVocabulary = int64_t{1} << 28;
constexpr int64_t kMaxLength = int64_t{1} << 40;

constexpr JsonLimits kLimits{.max_bytes = size_t{16} << 20, .max_depth = 32};

[[noreturn]] void unimplemented(const JsonFields& fields, const std::string& key,
                                const std::string& message) {
  throw Error(Code::unimplemented, key + ": " + message)
      .in(kConfigComponent)
      .field(key)
      .at(fields.place().file);
}

std::string read_architecture(JsonFields& fields) {
  const std::string wanted = "LlamaForCausalLM";
  if (fields.has("architectures")) {
    const std::vector<std::string> names = fields.texts("architectures");
    if (names.size() != 1) {
      fields.fail("architectures", "wanted one name, found " + std::to_string(names.size()));
    }
    if (names.front() != wanted) {
      unimplemented(fields, "architectures", "wanted " + wanted + ", found " + names.front());
    }
  } else if (!fields.has("model_type")) {
    fields.fail("architectures", "wanted [\"" + wanted + "\"], found nothing");
  }
  const std::string type = fields.text_or("model_type", "llama");
  if (type != "llama") unimplemented(fields, "model_type", "wanted llama, found " + type);
  return wanted;
}

void read_sizes(JsonFields& fields, ModelConfig& config) {
  config.n_layers = fields.integer("num_hidden_layers", 1, kMaxLayers);
  config.d_model = fields.integer("hidden_size", 1, kMaxWidth);
  config.d_ff = fields.integer("intermediate_size", 1, kMaxWidth);
  config.vocab_size = fields.integer("vocab_size", 1, kMaxVocabulary);

  config.n_heads = fields.integer("num_attention_heads", 1, kMaxHeads);
  config.n_kv_heads = fields.integer_or("num_key_value_heads", 1, kMaxHeads, config.n_heads);
  if (config.n_heads % config.n_kv_heads != 0) {
    fields.fail("num_key_value_heads", std::to_string(config.n_kv_heads) +
                                           " does not divide num_attention_heads (" +
                                           std::to_string(config.n_heads) + ")");
  }

  const std::optional<int64_t> head_dim = fields.maybe_integer("head_dim", 2, kMaxHeadDim);
  if (!head_dim && config.d_model % config.n_heads != 0) {
    fields.fail("num_attention_heads",
                std::to_string(config.n_heads) + " does not divide hidden_size (" +
                    std::to_string(config.d_model) + "), and head_dim is absent");
  }
  config.head_dim = head_dim.value_or(config.d_model / config.n_heads);
  if (config.head_dim < 2 || config.head_dim > kMaxHeadDim || config.head_dim % 2 != 0) {
    fields.fail("head_dim", "wanted an even number from 2 to " + std::to_string(kMaxHeadDim) +
                                ", found " + std::to_string(config.head_dim));
  }
}

void read_activation(JsonFields& fields) {
  const std::string name = fields.text_or("hidden_act", "silu");
  // transformers knows the same function by both names.
  if (name != "silu" && name != "swish") {
    unimplemented(fields, "hidden_act", "wanted silu, found " + name);
  }
}

int32_t read_id(JsonFields& fields, const std::string& key, int64_t n_ids) {
  return static_cast<int32_t>(fields.integer_or(key, -1, n_ids - 1, -1));
}

/// One id, a list of ids, or none.
std::vector<int32_t> read_eos_ids(JsonFields& fields, int64_t vocab_size) {
  const std::string key = "eos_token_id";
  const Json* value = fields.value(key);
  if (value == nullptr) return {};
  if (!value->is_array()) {
    const int32_t id = read_id(fields, key, vocab_size);
    return id < 0 ? std::vector<int32_t>{} : std::vector<int32_t>{id};
  }
  std::vector<int32_t> ids;
  for (const int64_t id : fields.integers(key, 0, vocab_size - 1)) {
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

/// The other keys of this file are defaults of sampling, which are the caller's to choose here.
void read_generation_config(const std::filesystem::path& path, ModelConfig& config) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return;
  const Json json = parse_json_file(path, kConfigComponent, kLimits);
  JsonFields fields(json, {kConfigComponent, path.string()});
  if (fields.has("eos_token_id")) config.eos_ids = read_eos_ids(fields, config.vocab_size);
}

ModelConfig read_config(const Json& json, const std::string& file) {
  JsonFields fields(json, {kConfigComponent, file});
  ModelConfig config;
  config.architecture = read_architecture(fields);
  read_sizes(fields, config);
  read_activation(fields);
  config.rms_norm_eps = fields.number("rms_norm_eps", 0.0, 1.0);
  config.tied_embeddings = fields.boolean_or("tie_word_embeddings", false);
  config.max_position_embeddings = fields.integer("max_position_embeddings", 1, kMaxLength);

  RopeFromConfig rope = rope_from_config(fields, config.head_dim, config.max_position_embeddings);
  config.rope_spec = std::move(rope.spec);
  config.rope_base = rope.base;
  config.trained_length = rope.trained_length;
  config.ignored_keys = std::move(rope.ignored_keys);

  config.bos_id = read_id(fields, "bos_token_id", config.vocab_size);
  config.eos_ids = read_eos_ids(fields, config.vocab_size);
  // Padding is never computed with, and some checkpoints name an id past the vocabulary for it.
  config.pad_id = read_id(fields, "pad_token_id", int64_t{1} << 31);

  check_other_config_keys(fields);
  const std::vector<std::string> unread = fields.unread();
  for (const std::string& key : unread) {
    // A misspelt scheme would leave a plain one.
    if (key.starts_with("rope")) {
      fields.fail(key, "unknown key; known are rope_parameters, rope_scaling and rope_theta");
    }
  }
  config.ignored_keys.insert(config.ignored_keys.end(), unread.begin(), unread.end());
  return config;
}

void set_first_eos(ModelConfig& config) {
  config.eos_id = config.eos_ids.empty() ? -1 : config.eos_ids.front();
}

}  // namespace

ModelConfig read_model_config(const std::filesystem::path& folder, std::string_view config_file) {
  const std::filesystem::path path = folder / config_file;
  std::error_code ignored;
  if (std::filesystem::exists(folder / "adapter_config.json", ignored) &&
      !std::filesystem::exists(path, ignored)) {
    throw Error(Code::invalid_argument,
                "is an adapter, no model: open its base model, and the adapter beside that")
        .in(kConfigComponent)
        .at(folder.string());
  }
  ModelConfig config = read_config(parse_json_file(path, kConfigComponent, kLimits), path.string());
  read_generation_config(folder / "generation_config.json", config);
  set_first_eos(config);
  return config;
}

ModelConfig parse_model_config(std::string_view text, const std::string& name) {
  ModelConfig config = read_config(parse_json(text, {kConfigComponent, name}, kLimits), name);
  set_first_eos(config);
  return config;
}

}  // namespace okapi
