#include "runtime/model/model.h"

#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/sha256.h"
#include "runtime/kv_cache/page_pool.h"
#include "runtime/kv_cache/rotation_rows.h"
#include "runtime/model/checkpoint.h"
#include "runtime/model/random_weights.h"
#include "runtime/model/rotary/rope.h"
#include "runtime/model/tokenizer_fit.h"
#include "runtime/model/transformer.h"
#include "runtime/model/weights.h"
#include "runtime/model/workspace.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

namespace {

std::shared_ptr<const Tokenizer> open_tokenizer(const RuntimeContext& context,
                                                const std::filesystem::path& path,
                                                const ModelConfig& config) {
  auto tokenizer = Tokenizer::open(path, context.tokenizer_directories());
  for (std::string& oddity : check_tokenizer_fits(config, *tokenizer)) {
    context.logger().log(LogLevel::warn, "model", std::move(oddity),
                         {{"folder", path.parent_path().string()}});
  }
  return tokenizer;
}

WeightOptions weight_options(const ModelOptions& options, DType dtype, PairLayout layout) {
  return {dtype, layout, options.progress, options.cancel};
}

/// `initializer_range` of a config.json text that has been checked already.
double initializer_range(std::string_view config_json, const std::string& name) {
  const Json json = parse_json(config_json, {"model", name});
  JsonFields fields(json, {"model", name});
  return fields.number_or("initializer_range", 0.0, 1e3, 0.02);
}

}  // namespace

Model::~Model() = default;

std::shared_ptr<Model> Model::load(std::shared_ptr<RuntimeContext> context,
                                   const std::filesystem::path& folder,
                                   const ModelOptions& options) {
  const auto checkpoint =
      std::make_shared<const Checkpoint>(Checkpoint::open(folder, options.config_file));
  const std::shared_ptr<Model> model(new Model());
  model->context_ = std::move(context);
  model->config_ = checkpoint->config();
  model->path_ = folder.string();
  for (const std::string& key : model->config_.ignored_keys) {
    model->context_->logger().log(LogLevel::warn, "model", "a key of the configuration is not used",
                                  {{"key", key}, {"folder", model->path_}});
  }
  const std::filesystem::path tokenizer = folder / "tokenizer.model";
  std::error_code ignored;
  if (!options.without_tokenizer && std::filesystem::exists(tokenizer, ignored)) {
    model->tokenizer_ = open_tokenizer(*model->context_, tokenizer, model->config_);
  }
  model->pair_layout_ = options.pair_layout.value_or(model->config_.pair_layout);
  model->hash_ = [checkpoint] { return checkpoint->sha256(); };
  const DType dtype =
      options.dtype.value_or(checkpoint->has_bf16_matrices() ? DType::bf16 : DType::f32);
  model->finish(prepare_weights(
      model->context_->backend(), model->config_,
      [&checkpoint](const std::string& name) {
        return LentTensor{checkpoint->tensor(name), HostTensor()};
      },
      weight_options(options, dtype, model->pair_layout_)));
  return model;
}

std::shared_ptr<Model> Model::random(std::shared_ptr<RuntimeContext> context,
                                     std::string_view config_json, uint64_t seed,
                                     const ModelOptions& options) {
  const std::string name = "config_json";
  const std::shared_ptr<Model> model(new Model());
  model->context_ = std::move(context);
  model->config_ = parse_model_config(config_json, name);
  if (!options.tokenizer_file.empty()) {
    model->tokenizer_ = open_tokenizer(*model->context_, options.tokenizer_file, model->config_);
  }
  model->pair_layout_ = options.pair_layout.value_or(model->config_.pair_layout);
  model->hash_ = [text = std::string(config_json), seed] {
    const std::string all = "random weights, seed " + std::to_string(seed) + "\n" + text;
    return sha256_of(all.data(), all.size());
  };
  const DType dtype = options.dtype.value_or(DType::f32);
  const WeightOptions kept = weight_options(options, dtype, model->pair_layout_);
  const WeightSource source =
      random_weight_source(model->config_, seed, initializer_range(config_json, name), dtype,
                           model->context_->n_threads());
  model->finish(prepare_weights(model->context_->backend(), model->config_, source, kept));
  return model;
}

void Model::finish(std::unique_ptr<const Weights> weights) {
  const std::shared_ptr<Backend>& backend = context_->backend();
  weights_ = std::move(weights);
  kv_layout_ = {config_.n_layers, config_.n_kv_heads, config_.head_dim, backend->page_tokens(),
                backend->kv_dtype_beside(weights_->dtype)};
  page_pool_ = std::make_shared<PagePool>(backend, kv_layout_);
  workspaces_ =
      std::make_unique<WorkspacePool>(backend, backend->activation_dtype_beside(weights_->dtype));
  rotations_ = std::make_unique<RotationCache>(backend);
  transformer_ = std::make_unique<const Transformer>(config_, *weights_, kv_layout_);
  rope_ = Rope::parse(config_.rope_spec, context_->plugin_host(), rope_geometry());
}

DType Model::dtype() const { return weights_->dtype; }
uint64_t Model::n_parameters() const { return weights_->n_parameters; }
uint64_t Model::weight_bytes() const { return weights_->bytes; }

uint64_t Model::kv_bytes_per_token() const {
  return kv_layout_.page_bytes() / static_cast<uint64_t>(kv_layout_.page_tokens);
}

RopeGeometry Model::rope_geometry() const {
  RopeGeometry geometry;
  geometry.head_dim = config_.head_dim;
  geometry.rotary_dim = config_.head_dim;
  geometry.n_layers = config_.n_layers;
  geometry.base = config_.rope_base;
  geometry.trained_length = config_.trained_length;
  geometry.target_length = config_.trained_length;
  return geometry;
}

std::shared_ptr<const Rope> Model::parse_rope(std::string_view spec) const {
  if (spec.empty()) return rope_;
  return Rope::parse(spec, context_->plugin_host(), rope_geometry());
}

std::string Model::sha256() const {
  const std::lock_guard lock(hash_mutex_);
  if (sha256_.empty()) sha256_ = hash_();
  return sha256_;
}

}  // namespace okapi
