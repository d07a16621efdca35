// peft's folders: adapter_config.json beside adapter_model.safetensors.
#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <system_error>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
#include "runtime/model/adapter.h"
#include "runtime/model/convert.h"
#include "runtime/model/safetensors.h"

namespace okapi {

namespace {

constexpr const char* kAdapterComponent = "adapter";
constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";

// Bookkeeping of peft, and what only matters while an adapter is initialised.
constexpr const char* kHarmlessAdapterKeys[] = {"auto_mapping",        "base_model_name_or_path",
                                                "ensure_weight_tying", "inference_mode",
                                                "loftq_config",        "eva_config",
                                                "corda_config",        "lora_ga_config",
                                                "megatron_core",       "peft_version",
                                                "qalora_group_size",   "revision",
                                                "runtime_config",      "task_type"};

// Each makes the adapter compute something else, unless it is absent, null or this.
const std::vector<std::pair<const char*, Json>>& refused_unless() {
  static const std::vector<std::pair<const char*, Json>> kKeys = {
      {"alora_invocation_tokens", nullptr},
      {"alpha_pattern", Json::object()},
      {"arrow_config", nullptr},
      {"bias", "none"},
      {"exclude_modules", nullptr},
      {"fan_in_fan_out", false},
      {"kasa_config", nullptr},
      {"layer_replication", nullptr},
      {"layers_pattern", "layers"},
      {"lora_bias", false},
      {"megatron_config", nullptr},
      {"modules_to_save", nullptr},
      {"monteclora_config", nullptr},
      {"rank_pattern", Json::object()},
      {"target_parameters", nullptr},
      {"trainable_token_indices", nullptr},
      {"use_bdlora", false},
      {"use_dora", false},
      {"use_qalora", false},
      {"velora_config", nullptr}};
  return kKeys;
}

[[noreturn]] void refuse(Code code, const std::filesystem::path& file, const std::string& field,
                         const std::string& problem) {
  throw Error(code, field + ": " + problem).in(kAdapterComponent).field(field).at(file.string());
}

/// Ways to begin that change the base's weights as well (pissa, olora, loftq, corda and such): the
/// matrices then belong to that changed base, which is not the one at hand.
void check_initialisation(JsonFields& fields, const std::filesystem::path& file) {
  const Json* way = fields.value("init_lora_weights");
  if (way == nullptr || way->is_boolean()) return;
  for (const char* harmless : {"gaussian", "orthogonal", "eva"}) {
    if (*way == harmless) return;
  }
  refuse(Code::unimplemented, file, "init_lora_weights",
         "wanted true, false, \"gaussian\", \"orthogonal\" or \"eva\", which leave the base as it "
         "is, found " +
             describe_json(*way) + "; peft can convert such an adapter to a plain one");
}

std::vector<Projection> read_targets(JsonFields& fields, const std::filesystem::path& file) {
  const Json* value = fields.value("target_modules");
  if (value != nullptr && *value == "all-linear") {
    return {std::begin(kProjections), std::end(kProjections)};
  }
  if (value != nullptr && value->is_string()) {
    refuse(
        Code::unimplemented, file, "target_modules",
        "wanted a list of modules or \"all-linear\", found the pattern " + describe_json(*value));
  }
  std::vector<Projection> targets;
  for (const std::string& name : fields.texts("target_modules")) {
    // "q_proj" and "self_attn.q_proj" mean the same module of every layer.
    const std::optional<Projection> projection = projection_named(name.substr(name.rfind('.') + 1));
    if (!projection) {
      refuse(Code::unimplemented, file, "target_modules",
             "wanted projections of a layer, found \"" + name + "\"");
    }
    targets.push_back(*projection);
  }
  std::sort(targets.begin(), targets.end());
  targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
  if (targets.empty()) refuse(Code::invalid_argument, file, "target_modules", "is empty");
  return targets;
}

std::vector<int64_t> read_layers(JsonFields& fields, const ModelConfig& config) {
  const Json* value = fields.value("layers_to_transform");
  std::vector<int64_t> layers;
  if (value != nullptr && value->is_number_integer()) {
    layers = {fields.integer("layers_to_transform", 0, config.n_layers - 1)};
  } else if (value != nullptr) {
    layers = fields.integers("layers_to_transform", 0, config.n_layers - 1);
  } else {
    for (int64_t layer = 0; layer < config.n_layers; ++layer) layers.push_back(layer);
  }
  return layers;
}

HostTensor read_matrix(const SafetensorsFile& file, const std::string& name, int64_t rows,
                       int64_t columns) {
  if (!file.has(name)) refuse(Code::invalid_argument, file.path(), name, "the tensor is missing");
  const std::vector<int64_t> wanted = {rows, columns};
  if (file.shape(name) != wanted) {
    refuse(Code::invalid_argument, file.path(), name,
           "wanted shape " + shape_text(wanted) + ", found " + shape_text(file.shape(name)));
  }
  const ConstTensorView view = file.tensor(name);
  if (view.dtype != DType::f32 && view.dtype != DType::f16 && view.dtype != DType::bf16) {
    refuse(Code::unimplemented, file.path(), name,
           std::string("wanted F32, F16 or BF16, found ") + safetensors_name(view.dtype));
  }
  return converted(view, DType::f32);
}

}  // namespace

Adapter Adapter::load(const std::filesystem::path& folder, const ModelConfig& config) {
  const std::filesystem::path config_path = folder / kConfigFile;
  const Json json = parse_json_file(config_path, kAdapterComponent);
  JsonFields fields(json, {kAdapterComponent, config_path.string()});
  if (fields.text("peft_type") != "LORA") {
    refuse(Code::unimplemented, config_path, "peft_type",
           "wanted LORA, found " + describe_json(json["peft_type"]));
  }
  for (const char* key : kHarmlessAdapterKeys) fields.ignore(key);
  for (const auto& [key, off] : refused_unless()) {
    const Json* found = fields.value(key);
    if (found == nullptr || *found == off) continue;
    if (found->empty() && (found->is_object() || found->is_array())) continue;
    refuse(Code::unimplemented, config_path, key,
           "this kind of adapter is not implemented; wanted it absent, null or " + off.dump() +
               ", found " + describe_json(*found));
  }
  check_initialisation(fields, config_path);

  Adapter adapter;
  adapter.path_ = folder.string();
  adapter.n_layers_ = config.n_layers;
  AdapterShape& shape = adapter.shape_;
  shape.rank = fields.integer("r", 1, 1 << 16);
  shape.alpha = fields.number("lora_alpha", 0, 1e12);
  shape.dropout = fields.number_or("lora_dropout", 0, 1, 0);
  shape.rank_stabilised = fields.boolean_or("use_rslora", false);
  shape.targets = read_targets(fields, config_path);
  const std::vector<int64_t> layers = read_layers(fields, config);
  fields.finish();

  const SafetensorsFile file = SafetensorsFile::open(folder / kWeightsFile);
  std::set<std::string> expected;
  for (const int64_t layer : layers) {
    for (const Projection projection : shape.targets) {
      const Key key(layer, projection);
      const ProjectionShape matrix = projection_shape(config, projection);
      const std::string a = adapter_tensor_name(key, 'A');
      const std::string b = adapter_tensor_name(key, 'B');
      AdapterModule module;
      module.a = read_matrix(file, a, shape.rank, matrix.columns);
      module.b = read_matrix(file, b, matrix.rows, shape.rank);
      adapter.modules_.emplace(key, std::move(module));
      expected.insert({a, b});
    }
  }
  for (const std::string& name : file.names()) {
    if (expected.contains(name)) continue;
    refuse(Code::invalid_argument, file.path(), name,
           "the configuration of the adapter describes no such tensor");
  }
  return adapter;
}

void Adapter::save(const std::filesystem::path& folder, const std::string& base_model) const {
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);  // what is wrong, the first file says
  std::vector<std::pair<std::string, ConstTensorView>> tensors;
  std::set<int64_t> layers;
  for (const auto& [key, module] : modules_) {
    tensors.emplace_back(adapter_tensor_name(key, 'A'), module.a.view());
    tensors.emplace_back(adapter_tensor_name(key, 'B'), module.b.view());
    layers.insert(key.first);
  }
  write_safetensors(folder / kWeightsFile, tensors, {{"format", "pt"}});

  std::vector<std::string> targets;
  for (const Projection projection : shape_.targets) {
    targets.push_back(lora_target_names()[static_cast<size_t>(projection)]);
  }
  Json json = {{"peft_type", "LORA"},
               {"task_type", "CAUSAL_LM"},
               {"base_model_name_or_path", base_model},
               {"r", shape_.rank},
               {"lora_alpha", shape_.alpha},
               {"lora_dropout", shape_.dropout},
               {"target_modules", targets},
               {"use_rslora", shape_.rank_stabilised},
               {"bias", "none"},
               {"fan_in_fan_out", false},
               {"inference_mode", true},
               {"init_lora_weights", true},
               {"modules_to_save", nullptr},
               {"layers_to_transform", nullptr},
               {"layers_pattern", nullptr},
               {"rank_pattern", Json::object()},
               {"alpha_pattern", Json::object()},
               {"use_dora", false},
               {"revision", nullptr}};
  // peft writes whole numbers as such.
  if (shape_.alpha == std::floor(shape_.alpha))
    json["lora_alpha"] = static_cast<int64_t>(shape_.alpha);
  if (static_cast<int64_t>(layers.size()) < n_layers_) json["layers_to_transform"] = layers;
  write_file_atomically(folder / kConfigFile, json.dump(2) + "\n");
}

}  // namespace okapi
