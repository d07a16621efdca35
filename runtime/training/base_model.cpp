#include "runtime/training/base_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
#include "runtime/base/sha256.h"
#include "runtime/model/random_weights.h"
#include "runtime/training/seeds.h"

namespace okapi {

namespace {

constexpr size_t kMostConfigBytes = size_t{16} << 20;

/// Fresh weights; the projections that write into the residual may be drawn smaller, so that its
/// size does not grow with the number of layers (Radford et al. 2019).
WeightSource fresh_source(const TrainerConfig& config, const BaseModel& base, int n_threads) {
  JsonFields fields(base.config_json, {"model", (base.folder / "config.json").string()});
  const double deviation =
      config.random_init->deviation.value_or(fields.number_or("initializer_range", 0.0, 1e3, 0.02));
  const uint64_t seed = derived_seed(config.seed, Purpose::weights);
  WeightSource plain = random_weight_source(base.config, seed, deviation, DType::f32, n_threads);
  if (!config.random_init->scale_residual) return plain;
  const double smaller = deviation / std::sqrt(2.0 * static_cast<double>(base.config.n_layers));
  WeightSource scaled = random_weight_source(base.config, seed, smaller, DType::f32, n_threads);
  return [plain, scaled](const std::string& name) {
    const bool writes_residual =
        name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    return writes_residual ? scaled(name) : plain(name);
  };
}

AdapterShape fresh_shape(const LoraConfig& lora) {
  AdapterShape shape;
  shape.rank = lora.rank;
  shape.alpha = lora.alpha;
  shape.dropout = lora.dropout;
  for (const std::string& name : lora.targets) {
    shape.targets.push_back(projection_named(name).value());  // the configuration was checked
  }
  std::sort(shape.targets.begin(), shape.targets.end());
  return shape;
}

}  // namespace

BaseModel open_base(const TrainerConfig& config, int n_threads) {
  BaseModel base;
  base.folder = config.model;
  const std::filesystem::path config_path = base.folder / "config.json";
  base.config_json = parse_json_file(config_path, "model");
  if (!config.random_init) {
    base.checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(base.folder));
    base.config = base.checkpoint->config();
    base.sha256 = base.checkpoint->sha256();
    base.source = [checkpoint = base.checkpoint](const std::string& name) {
      return LentTensor{checkpoint->tensor(name), HostTensor()};
    };
    return base;
  }
  base.config = read_model_config(base.folder);
  base.source = fresh_source(config, base, n_threads);
  const std::string text = "fresh weights, seed " + std::to_string(config.seed) + "\n" +
                           read_file(config_path, kMostConfigBytes);
  base.sha256 = sha256_of(text.data(), text.size());
  return base;
}

void tell_of_dropout(const Logger& logger, const BaseModel& base) {
  constexpr const char* kKeys[] = {"attention_dropout", "attn_pdrop", "embd_pdrop",
                                   "hidden_dropout", "resid_pdrop"};
  for (const char* const key : kKeys) {
    const auto found = base.config_json.find(key);
    if (found == base.config_json.end() || !found->is_number() || *found == 0) continue;
    logger.log(LogLevel::warn, "training", "the model's dropout is not applied in training",
               {{"key", key}, {"value", found->dump()}, {"folder", base.folder.string()}});
  }
}

DType compute_dtype(const TrainerConfig& config, Backend& backend) {
  const DType dtype = config.compute_dtype.value_or(backend.activation_dtype());
  if (!backend.training()->computes_in(dtype)) {
    throw bad_config("compute_dtype",
                     "the backend " + backend.name() + " does not train in " + dtype_name(dtype));
  }
  return dtype;
}

std::optional<Adapter> open_adapter(const TrainerConfig& config, const ModelConfig& model) {
  if (!config.lora) return std::nullopt;
  if (config.lora->from.empty()) {
    return Adapter::fresh(model, fresh_shape(*config.lora),
                          derived_seed(config.seed, Purpose::adapter));
  }
  Adapter adapter = Adapter::load(config.lora->from, model);
  adapter.set_dropout(config.lora->dropout);
  return adapter;
}

std::optional<AdapterShape> adapter_shape(const TrainerConfig& config, const ModelConfig& model) {
  if (!config.lora) return std::nullopt;
  if (config.lora->from.empty()) return fresh_shape(*config.lora);
  return open_adapter(config, model)->shape();
}

}  // namespace okapi
