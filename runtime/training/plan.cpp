#include "runtime/training/plan.h"

#include <algorithm>
#include <utility>

#include "runtime/model/lora_targets.h"
#include "runtime/model/model_config.h"
#include "runtime/model/training_buffers.h"
#include "runtime/model/transformer_training.h"
#include "runtime/training/available_memory.h"
#include "runtime/training/base_model.h"
#include "runtime/training/plan_inventory.h"

namespace okapi {

namespace {

/// What the trainer will find in the file, as far as config.json says it.
DType base_dtype_of(const TrainerConfig& config, DType activations) {
  if (config.base_dtype) return *config.base_dtype;
  if (config.random_init || activations == DType::bf16) return activations;
  const Json json =
      parse_json_file(std::filesystem::path(config.model) / "config.json", "training");
  const Json dtype = json.value("torch_dtype", json.value("dtype", Json("float32")));
  return dtype == "bfloat16" ? DType::bf16 : DType::f32;
}

/// Without a backend, what was asked for.
DType compute_dtype_of(const std::shared_ptr<RuntimeContext>& context,
                       const TrainerConfig& config) {
  if (context && context->backend()->training() != nullptr) {
    return compute_dtype(config, *context->backend());
  }
  return config.compute_dtype.value_or(DType::f32);
}

/// Operations of a step's products and of attention, which sees half of the window on the mean.
struct StepFlops {
  double forward = 0;    ///< of products with every matrix
  double backward = 0;   ///< towards the inputs, and towards the weights that are trained
  double attention = 0;  ///< forward: two products
  double useful() const { return forward + backward + 3 * attention; }

  /// Attention's backward has five products for two, its tiles being made again.
  double done(bool recomputes) const {
    return forward + backward + 3.5 * attention + (recomputes ? forward + attention : 0);
  }
};

StepFlops step_flops(const PlanInventory& inventory, const ModelConfig& model,
                     const std::optional<AdapterShape>& adapter, int64_t n_tokens, int64_t length) {
  const auto tokens = static_cast<double>(n_tokens);
  int64_t per_layer = 0;
  for (const Projection projection : kProjections) {
    const ProjectionShape shape = projection_shape(model, projection);
    per_layer += shape.rows * shape.columns;
  }
  if (adapter) {
    for (const Projection projection : adapter->targets) {
      const ProjectionShape shape = projection_shape(model, projection);
      per_layer += adapter->rank * (shape.rows + shape.columns);
    }
  }
  const auto multiplied = static_cast<double>(model.vocab_size * model.d_model) +
                          static_cast<double>(model.n_layers) * static_cast<double>(per_layer);
  StepFlops flops;
  flops.forward = 2 * tokens * multiplied;
  flops.backward = flops.forward + 2 * tokens * static_cast<double>(inventory.n_multiplied);
  flops.attention = 2 * tokens * static_cast<double>(length) *
                    static_cast<double>(model.n_layers * model.n_heads * model.head_dim);
  return flops;
}

/// A configuration, and what its frozen matrices are kept as.
struct Variant {
  TrainerConfig config;
  DType base_dtype;
};

/// Plans variants of one run on one machine.
class Planner {
 public:
  Planner(std::shared_ptr<RuntimeContext> context, const TrainerConfig& config,
          const PlanOptions& options)
      : context_(std::move(context)),
        options_(options),
        model_(read_model_config(config.model)),
        activations_(compute_dtype_of(context_, config)),
        available_bytes_(options.available_bytes > 0 ? options.available_bytes
                         : context_                  ? available_memory(*context_->backend())
                                                     : available_memory()) {}

  DType activations() const { return activations_; }

  /// Memory and work; neither time nor what would make it fit.
  TrainingPlan plan(const Variant& variant) const {
    const TrainerConfig& config = variant.config;
    const std::optional<AdapterShape> adapter = adapter_shape(config, model_);
    const PlanInventory inventory = take_inventory(config, model_, variant.base_dtype, adapter);
    const int64_t length = known_window_length(config);
    TrainingPlan plan;
    plan.available_bytes = available_bytes_;
    plan.n_parameters = inventory.n_parameters;
    plan.n_trained = inventory.n_trained;
    plan.n_steps = config.steps > 0 ? config.steps : -1;

    const int64_t windows = config.batch.sequences > 0
                                ? config.batch.sequences
                                : std::max<int64_t>(1, config.batch.tokens / length);
    const int64_t micro = config.batch.micro > 0 ? std::min(config.batch.micro, windows) : windows;
    plan.step_tokens = windows * (length - 1);
    plan.micro_tokens = micro * (length - 1);

    plan_memory(config, inventory, length, plan);
    plan_scratch(config, micro, length, plan);

    const StepFlops flops = step_flops(inventory, model_, adapter, plan.step_tokens, length);
    plan.flops_per_step = flops.done(plan.recomputes);
    plan.useful_flops_per_step = flops.useful();
    const bool writes_model = inventory.n_trained_base > 0;
    const uint64_t model_bytes =
        writes_model ? inventory.n_parameters * size_of(config.checkpoint.dtype) : 0;
    plan.checkpoint_bytes = static_cast<double>(model_bytes + inventory.bytes.moments);
    return plan;
  }

  /// GFLOP/s of the widest product of a layer, at a size that shows the rate and takes no time.
  double measured_gflops() const {
    constexpr int64_t kRows = 512;
    constexpr int64_t kMostColumns = 4096;
    return context_->backend()
        ->measure_matmul(kRows, std::min(model_.d_ff, kMostColumns),
                         std::min(model_.d_model, kMostColumns), activations_)
        .gflops;
  }

  /// Tokens of the longest window, as far as the configuration says; 0: it does not.
  int64_t window_length(const TrainerConfig& config) const {
    if (config.batch.length > 0) return config.batch.length;
    if (options_.length > 0) return options_.length;
    const bool says = config.data.is_object() && config.data.contains("length") &&
                      config.data["length"].is_number_integer();
    return says ? config.data["length"].get<int64_t>() : 0;
  }

 private:
  int64_t known_window_length(const TrainerConfig& config) const {
    const int64_t length = window_length(config);
    if (length > 1) return length;
    throw bad_config("batch.length",
                     "a plan needs the length of a window, which only the data know");
  }

  /// What stays for the whole run, and the activations that are kept for the backward pass.
  void plan_memory(const TrainerConfig& config, const PlanInventory& inventory, int64_t length,
                   TrainingPlan& plan) const {
    TrainerMemory& memory = plan.memory;
    memory.frozen_weights = inventory.bytes.frozen;
    memory.masters = inventory.bytes.masters;
    memory.gradients = inventory.bytes.gradients;
    memory.moments = inventory.bytes.moments;
    // The masters serve products in f32 themselves.
    if (activations_ != DType::f32) {
      memory.prepared_weights = inventory.n_mastered * size_of(activations_);
    }
    const uint64_t parameters = memory.total();  // which a trainer has when it decides
    const uint64_t left = available_bytes_ > parameters ? available_bytes_ - parameters : 0;
    const auto activation_bytes = [&](bool recomputes) {
      return buffer_bytes(model_, activations_,
                          TransformerTraining::buffer_shape(plan.micro_tokens, recomputes,
                                                            model_.n_layers, inventory.network));
    };
    plan.recomputes = config.recompute.value_or(outweighs(activation_bytes(false), left));
    memory.activations = activation_bytes(plan.recomputes);
    memory.rotation =
        static_cast<uint64_t>(length) * static_cast<uint64_t>(model_.head_dim) * sizeof(float);
  }

  /// What the backend takes on the way, of which a plan without one knows nothing.
  void plan_scratch(const TrainerConfig& config, int64_t micro, int64_t length,
                    TrainingPlan& plan) const {
    if (!context_ || context_->backend()->training() == nullptr) return;
    const TrainingScratch scratch = context_->backend()->training()->scratch(
        {.deterministic = config.deterministic}, micro, length - 1,
        {model_.n_heads, model_.n_kv_heads, model_.head_dim}, model_.vocab_size, activations_);
    plan.logits_bytes = scratch.logits;
    plan.attention_bytes = scratch.attention;
  }

  std::shared_ptr<RuntimeContext> context_;
  const PlanOptions& options_;
  ModelConfig model_;
  DType activations_;
  uint64_t available_bytes_;
};

/// Adds to a plan that does not fit what would make it smaller: each change by itself, then all of
/// those that help together, then with them the longest window that would fit.
void add_remedies(const Planner& planner, const Variant& asked, TrainingPlan& plan) {
  Variant all = asked;
  const auto helps = [&](const std::string& change, const Variant& changed) {
    const TrainingPlan then = planner.plan(changed);
    if (then.total_bytes() >= plan.total_bytes()) return false;
    plan.remedies.push_back({change, then.total_bytes()});
    return true;
  };
  if (!plan.recomputes) {
    Variant changed = asked;
    changed.config.recompute = true;
    if (helps("recompute: true", changed)) all.config.recompute = true;
  }
  if (asked.config.batch.micro != 1) {
    Variant changed = asked;
    changed.config.batch.micro = 1;
    if (helps("batch.micro: 1", changed)) all.config.batch.micro = 1;
  }
  if (asked.base_dtype == DType::f32 && plan.memory.frozen_weights > 0) {
    Variant changed = asked;
    changed.base_dtype = DType::bf16;
    if (helps("base_dtype: bf16", changed)) all.base_dtype = DType::bf16;
  }
  if (!asked.config.lora) {
    Variant changed = asked;
    changed.config.lora.emplace();
    changed.config.lora->targets = lora_target_names();
    changed.config.trained = {"lora"};
    if (helps("lora: {rank: 8} in place of full training", changed)) {
      all.config.lora = changed.config.lora;
      all.config.trained = changed.config.trained;
    }
  }
  if (plan.remedies.size() > 1) static_cast<void>(helps("all of these", all));

  if (planner.plan(all).fits()) return;
  for (int64_t shorter = planner.window_length(asked.config) / 2; shorter >= 2; shorter /= 2) {
    all.config.batch.length = shorter;
    const TrainingPlan then = planner.plan(all);
    const bool is_shortest = shorter / 2 < 2;
    if (!then.fits() && !is_shortest) continue;
    plan.remedies.push_back(
        {"all of these and batch.length: " + std::to_string(shorter), then.total_bytes()});
    break;
  }
}

}  // namespace

TrainingPlan plan_training(const std::shared_ptr<RuntimeContext>& context,
                           const TrainerConfig& config, const PlanOptions& options) {
  const Planner planner(context, config, options);
  const Variant asked{config, base_dtype_of(config, planner.activations())};
  TrainingPlan plan = planner.plan(asked);
  plan.gflops = options.gflops;
  if (plan.gflops == 0 && context) plan.gflops = planner.measured_gflops();
  if (plan.gflops > 0) plan.seconds_per_step = plan.flops_per_step / (plan.gflops * 1e9);
  if (!plan.fits()) add_remedies(planner, asked, plan);
  return plan;
}

}  // namespace okapi
