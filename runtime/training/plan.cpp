#include "runtime/training/plan.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/model/adapter.h"
#include "runtime/model/llama_tensors.h"
#include "runtime/model/lora_targets.h"
#include "runtime/model/model_config.h"
#include "runtime/model/training_buffers.h"
#include "runtime/model/transformer_training.h"
#include "runtime/training/available_memory.h"
#include "runtime/training/parameter_filter.h"
#include "runtime/training/parameters.h"
#include "runtime/training/trainer_state.h"

namespace okapi {

namespace {

/// What is trained of a model, without its weights.
struct Inventory {
  uint64_t n_parameters = 0;
  uint64_t n_trained = 0;
  uint64_t n_trained_base = 0;
  uint64_t n_copied = 0;      ///< elements of matrices that have masters
  uint64_t n_multiplied = 0;  ///< trained weights that products have: not norms, not a lookup
  ParameterBytes bytes;
  TrainedNetwork network;  ///< whose views are empty, or not, but point nowhere
};

struct Lora {
  std::vector<bool> targets = std::vector<bool>(kNProjections);
  int64_t rank = 0;
  double dropout = 0;
};

/// A view that is not empty and must not be read.
TensorView mark(int64_t rows, int64_t columns) {
  static float nowhere;
  return TensorView(&nowhere, DType::f32, {rows, columns});
}

class InventoryMaker {
 public:
  InventoryMaker(const TrainerConfig& config, const ModelConfig& model, DType base_dtype,
                 const Lora& lora)
      : config_(config), model_(model), base_dtype_(base_dtype), lora_(lora) {
    for_each_llama_tensor(
        model, [&](const ExpectedTensor& tensor) { shapes_[tensor.name] = tensor.shape; });
  }

  Inventory make() {
    result_.network.embedding = matrix({"model.embed_tokens.weight"});
    result_.network.output =
        model_.tied_embeddings ? result_.network.embedding : matrix({"lm_head.weight"});
    result_.network.final_norm = norm("model.norm.weight");
    for (int64_t layer = 0; layer < model_.n_layers; ++layer) {
      const auto name = [layer](const char* part) { return layer_tensor_name(layer, part); };
      TrainedLayer weights;
      weights.input_norm = norm(name("input_layernorm"));
      weights.qkv =
          matrix({name("self_attn.q_proj"), name("self_attn.k_proj"), name("self_attn.v_proj")});
      weights.out = matrix({name("self_attn.o_proj")});
      weights.attention_norm = norm(name("post_attention_layernorm"));
      weights.gate_up = matrix({name("mlp.gate_proj"), name("mlp.up_proj")});
      weights.down = matrix({name("mlp.down_proj")});
      add_branches(layer, weights);
      result_.network.layers.push_back(std::move(weights));
    }
    return std::move(result_);
  }

 private:
  TrainedMatrix matrix(const std::vector<std::string>& names) {
    uint64_t n_all = 0;
    uint64_t n_trained = 0;
    for (const std::string& name : names) {
      const std::vector<int64_t>& shape = shapes_.at(name);
      const auto n = static_cast<uint64_t>(shape[0]) * static_cast<uint64_t>(shape[1]);
      n_all += n;
      if (selects_parameter(config_.trained, name, /*is_adapter=*/false)) n_trained += n;
    }
    result_.n_parameters += n_all;
    result_.n_trained += n_trained;
    result_.n_trained_base += n_trained;
    const bool is_looked_up = names.front() == "model.embed_tokens.weight";
    if (!is_looked_up || model_.tied_embeddings) result_.n_multiplied += n_trained;
    TrainedMatrix view;
    if (n_trained == 0) {
      result_.bytes.frozen += n_all * size_of(base_dtype_);
      return view;
    }
    // A fused matrix is trained whole; moments are those of its trained rows.
    result_.n_copied += n_all;
    result_.bytes.masters += n_all * sizeof(float);
    result_.bytes.gradients += n_all * sizeof(float);
    result_.bytes.moments += 2 * n_trained * sizeof(float);
    view.gradient = mark(1, 1);
    return view;
  }

  TrainedNorm norm(const std::string& name) {
    const auto n = static_cast<uint64_t>(model_.d_model);
    result_.n_parameters += n;
    TrainedNorm view;
    if (!selects_parameter(config_.trained, name, /*is_adapter=*/false)) {
      result_.bytes.frozen += n * sizeof(float);
      return view;
    }
    result_.n_trained += n;
    result_.n_trained_base += n;
    result_.bytes.masters += n * sizeof(float);
    result_.bytes.gradients += n * sizeof(float);
    result_.bytes.moments += 2 * n * sizeof(float);
    view.gradient = mark(1, 1);
    return view;
  }

  void add_branches(int64_t layer, TrainedLayer& weights) {
    TrainedMatrix* const matrices[] = {&weights.qkv, &weights.qkv,     &weights.qkv,
                                       &weights.out, &weights.gate_up, &weights.gate_up,
                                       &weights.down};
    for (int32_t i = 0; i < kNProjections; ++i) {
      if (!lora_.targets[static_cast<size_t>(i)]) continue;
      const auto projection = static_cast<Projection>(i);
      const ProjectionShape shape = projection_shape(model_, projection);
      LoraBranch branch;
      branch.dropout = static_cast<float>(lora_.dropout);
      branch.a = mark(lora_.rank, shape.columns);
      branch.b = mark(shape.rows, lora_.rank);
      for (const char letter : {'A', 'B'}) {
        const auto n =
            static_cast<uint64_t>(lora_.rank * (letter == 'A' ? shape.columns : shape.rows));
        const std::string name = adapter_tensor_name({layer, projection}, letter);
        if (!selects_parameter(config_.trained, name, /*is_adapter=*/true)) {
          result_.bytes.frozen += n * sizeof(float);
          continue;
        }
        (letter == 'A' ? branch.a_gradient : branch.b_gradient) = mark(1, 1);
        result_.n_trained += n;
        result_.n_multiplied += n;
        result_.bytes.masters += n * sizeof(float);
        result_.bytes.gradients += n * sizeof(float);
        result_.bytes.moments += 2 * n * sizeof(float);
      }
      matrices[i]->branches.push_back(branch);
    }
  }

  const TrainerConfig& config_;
  const ModelConfig& model_;
  DType base_dtype_;
  const Lora& lora_;
  std::map<std::string, std::vector<int64_t>> shapes_;
  Inventory result_;
};

Lora lora_of(const TrainerConfig& config, const ModelConfig& model) {
  Lora lora;
  if (!config.lora) return lora;
  lora.dropout = config.lora->dropout;
  if (!config.lora->from.empty()) {
    const Adapter adapter = Adapter::load(config.lora->from, model);
    lora.rank = adapter.shape().rank;
    for (const Projection target : adapter.shape().targets) {
      lora.targets[static_cast<size_t>(target)] = true;
    }
    return lora;
  }
  lora.rank = config.lora->rank;
  const std::vector<std::string>& known = lora_target_names();
  for (size_t i = 0; i < known.size(); ++i) {
    const std::vector<std::string>& targets = config.lora->targets;
    lora.targets[i] = std::find(targets.begin(), targets.end(), known[i]) != targets.end();
  }
  return lora;
}

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

StepFlops step_flops(const Inventory& inventory, const ModelConfig& model, const Lora& lora,
                     int64_t n_tokens, int64_t length) {
  const auto tokens = static_cast<double>(n_tokens);
  auto multiplied = static_cast<double>(model.vocab_size * model.d_model);
  for (int32_t i = 0; i < kNProjections; ++i) {
    const ProjectionShape shape = projection_shape(model, static_cast<Projection>(i));
    double products = static_cast<double>(shape.rows * shape.columns);
    if (lora.targets[static_cast<size_t>(i)]) {
      products += static_cast<double>(lora.rank * (shape.rows + shape.columns));
    }
    multiplied += static_cast<double>(model.n_layers) * products;
  }
  StepFlops flops;
  flops.forward = 2 * tokens * multiplied;
  flops.backward = flops.forward + 2 * tokens * static_cast<double>(inventory.n_multiplied);
  flops.attention = 2 * tokens * static_cast<double>(length) *
                    static_cast<double>(model.n_layers * model.n_heads * model.head_dim);
  return flops;
}

std::string bytes_text(uint64_t bytes) {
  std::ostringstream text;
  text.setf(std::ios::fixed);
  const auto value = static_cast<double>(bytes);
  if (value >= 0x1p30) {
    text.precision(2);
    text << value / 0x1p30 << " GiB";
  } else {
    text.precision(1);
    text << value / 0x1p20 << " MiB";
  }
  return text.str();
}

std::string seconds_text(double seconds) {
  std::ostringstream text;
  text.setf(std::ios::fixed);
  text.precision(seconds < 120 ? 1 : 0);
  if (seconds < 120) {
    text << seconds << " s";
  } else if (seconds < 7200) {
    text << seconds / 60 << " min";
  } else if (seconds < 48 * 3600) {
    text << seconds / 3600 << " h";
  } else {
    text << seconds / 86400 << " days";
  }
  return text.str();
}

/// Tokens of the longest window, as far as the configuration says; 0: it does not.
int64_t window_length(const TrainerConfig& config, const PlanOptions& options) {
  if (config.batch.length > 0) return config.batch.length;
  if (options.length > 0) return options.length;
  const bool says = config.data.is_object() && config.data.contains("length") &&
                    config.data["length"].is_number_integer();
  return says ? config.data["length"].get<int64_t>() : 0;
}

/// The plan's memory and work, without what would make it fit.
TrainingPlan plan_once(const std::shared_ptr<RuntimeContext>& context, const TrainerConfig& config,
                       const ModelConfig& model, DType base_dtype, const PlanOptions& options,
                       uint64_t available) {
  TrainingPlan plan;
  plan.available = available;
  const Lora lora = lora_of(config, model);
  const Inventory inventory = InventoryMaker(config, model, base_dtype, lora).make();
  plan.n_parameters = inventory.n_parameters;
  plan.n_trained = inventory.n_trained;

  const int64_t length = window_length(config, options);
  if (length <= 1) {
    throw Error(Code::invalid_argument,
                "batch.length: a plan needs the length of a window, which only the data know")
        .in("training")
        .field("batch.length");
  }
  const int64_t windows = config.batch.sequences > 0
                              ? config.batch.sequences
                              : std::max<int64_t>(1, config.batch.tokens / length);
  const int64_t micro = config.batch.micro > 0 ? std::min(config.batch.micro, windows) : windows;
  plan.step_tokens = windows * (length - 1);
  plan.micro_tokens = micro * (length - 1);
  plan.n_steps = config.steps > 0 ? config.steps : -1;
  const DType activations = compute_dtype_of(context, config);
  const auto activation_bytes = [&](bool recomputes) {
    return buffer_bytes(model, activations,
                        TransformerTraining::buffer_shape(plan.micro_tokens, recomputes,
                                                          model.n_layers, inventory.network));
  };
  plan.memory.frozen_weights = inventory.bytes.frozen;
  plan.memory.masters = inventory.bytes.masters;
  plan.memory.gradients = inventory.bytes.gradients;
  plan.memory.moments = inventory.bytes.moments;
  // The masters serve products in f32 themselves.
  if (activations != DType::f32) {
    plan.memory.prepared_weights = inventory.n_copied * size_of(activations);
  }
  const uint64_t parameters = plan.memory.total();  // which a trainer has when it decides
  const uint64_t left = available > parameters ? available - parameters : 0;
  plan.recomputes = config.recompute.value_or(outweighs(activation_bytes(false), left));
  plan.memory.activations = activation_bytes(plan.recomputes);
  plan.memory.rotation =
      static_cast<uint64_t>(length) * static_cast<uint64_t>(model.head_dim) * sizeof(float);
  if (context && context->backend()->training() != nullptr) {
    const TrainingScratch scratch = context->backend()->training()->scratch(
        {.deterministic = config.deterministic}, micro, length - 1,
        {model.n_heads, model.n_kv_heads, model.head_dim}, model.vocab_size, activations);
    plan.logits = scratch.logits;
    plan.attention = scratch.attention;
  }

  const StepFlops flops = step_flops(inventory, model, lora, plan.step_tokens, length);
  plan.flops_per_step = flops.done(plan.recomputes);
  plan.useful_flops_per_step = flops.useful();
  const uint64_t model_bytes =
      inventory.n_trained_base > 0 ? inventory.n_parameters * size_of(config.checkpoint.dtype) : 0;
  plan.checkpoint_bytes = static_cast<double>(model_bytes + inventory.bytes.moments);
  return plan;
}

}  // namespace

TrainingPlan plan_training(const std::shared_ptr<RuntimeContext>& context,
                           const TrainerConfig& config, const PlanOptions& options) {
  const ModelConfig model = read_model_config(config.model);
  const DType activations = compute_dtype_of(context, config);
  const DType base_dtype = base_dtype_of(config, activations);
  const uint64_t available = options.available_bytes > 0 ? options.available_bytes
                             : context                   ? available_memory(*context->backend())
                                                         : available_memory();
  TrainingPlan plan = plan_once(context, config, model, base_dtype, options, available);
  plan.gflops = options.gflops;
  if (plan.gflops == 0 && context) {
    // The shape of the widest product of a layer, at a size that shows the rate and takes no time.
    constexpr int64_t kRows = 512;
    plan.gflops = context->backend()
                      ->measure_matmul(kRows, std::min<int64_t>(model.d_ff, 4096),
                                       std::min<int64_t>(model.d_model, 4096), activations)
                      .gflops;
  }
  if (plan.gflops > 0) plan.seconds_per_step = plan.flops_per_step / (plan.gflops * 1e9);
  if (plan.fits()) return plan;

  // Each change by itself, then all of those that help together.
  TrainerConfig all = config;
  DType all_dtype = base_dtype;
  const auto try_change = [&](const std::string& change, const TrainerConfig& changed,
                              DType dtype) {
    const TrainingPlan then = plan_once(context, changed, model, dtype, options, available);
    if (then.total_bytes() >= plan.total_bytes()) return false;
    plan.remedies.push_back({change, then.total_bytes()});
    return true;
  };
  if (!plan.recomputes) {
    TrainerConfig changed = config;
    changed.recompute = true;
    if (try_change("recompute: true", changed, base_dtype)) all.recompute = true;
  }
  if (config.batch.micro != 1) {
    TrainerConfig changed = config;
    changed.batch.micro = 1;
    if (try_change("batch.micro: 1", changed, base_dtype)) all.batch.micro = 1;
  }
  if (base_dtype == DType::f32 && plan.memory.frozen_weights > 0) {
    if (try_change("base_dtype: bf16", config, DType::bf16)) all_dtype = DType::bf16;
  }
  if (!config.lora) {
    TrainerConfig changed = config;
    changed.lora.emplace();
    changed.lora->targets = lora_target_names();
    changed.trained = {"lora"};
    if (try_change("lora: {rank: 8} in place of full training", changed, base_dtype)) {
      all.lora = changed.lora;
      all.trained = changed.trained;
    }
  }
  if (plan.remedies.size() > 1) {
    static_cast<void>(try_change("all of these", all, all_dtype));
  }
  // The longest window that would fit with them all.
  const TrainingPlan best = plan_once(context, all, model, all_dtype, options, available);
  const int64_t length = window_length(config, options);
  if (best.total_bytes() > plan.available) {
    for (int64_t shorter = length / 2; shorter >= 2; shorter /= 2) {
      TrainerConfig changed = all;
      changed.batch.length = shorter;
      const TrainingPlan then = plan_once(context, changed, model, all_dtype, options, available);
      if (then.total_bytes() > plan.available && shorter > 3) continue;
      plan.remedies.push_back(
          {"all of these and batch.length: " + std::to_string(shorter), then.total_bytes()});
      break;
    }
  }
  return plan;
}

Json TrainingPlan::json() const {
  Json list = Json::array();
  for (const Remedy& remedy : remedies) {
    list.push_back(
        {{"change", remedy.change}, {"bytes", remedy.bytes}, {"fits", remedy.bytes <= available}});
  }
  Json parts = memory.json();
  parts["logits"] = logits;
  parts["attention"] = attention;
  parts["total"] = total_bytes();
  return {{"n_parameters", n_parameters},
          {"n_trained", n_trained},
          {"recompute", recomputes},
          {"micro_tokens", micro_tokens},
          {"step_tokens", step_tokens},
          {"n_steps", n_steps},
          {"memory", parts},
          {"available_bytes", available},
          {"missing_bytes", fits() ? 0 : total_bytes() - available},
          {"fits", fits()},
          {"flops_per_step", flops_per_step},
          {"useful_flops_per_step", useful_flops_per_step},
          {"gflops", gflops},
          {"seconds_per_step", seconds_per_step},
          {"seconds", n_steps > 0 ? Json(seconds()) : Json(nullptr)},
          {"checkpoint_bytes", checkpoint_bytes},
          {"remedies", list}};
}

std::string TrainingPlan::text() const {
  std::ostringstream text;
  const auto row = [&text](const std::string& name, const std::string& value) {
    text << name << std::string(name.size() < 28 ? 28 - name.size() : 1, ' ') << value << "\n";
  };
  row("parameters", std::to_string(n_parameters) + ", trained " + std::to_string(n_trained));
  row("tokens",
      std::to_string(step_tokens) + " a step, " + std::to_string(micro_tokens) + " at once");
  row("frozen weights", bytes_text(memory.frozen_weights));
  row("masters (f32)", bytes_text(memory.masters));
  if (memory.prepared_weights > 0) row("copies for products", bytes_text(memory.prepared_weights));
  row("gradients", bytes_text(memory.gradients));
  row("optimizer", bytes_text(memory.moments));
  row(recomputes ? "activations, recomputed" : "activations", bytes_text(memory.activations));
  row("logits chunks", bytes_text(logits));
  row("attention, rotation", bytes_text(attention + memory.rotation));
  row("memory in all", bytes_text(total_bytes()) + " of " + bytes_text(available) + " available");
  std::ostringstream flops;
  flops.precision(3);
  flops << flops_per_step / 1e12 << " TFLOP";
  if (gflops > 0) flops << " at " << gflops << " GFLOP/s: " << seconds_text(seconds_per_step);
  row("a step", flops.str());
  if (gflops > 0 && n_steps > 0) {
    row(std::to_string(n_steps) + " steps", seconds_text(seconds()));
  }
  row("a checkpoint", bytes_text(static_cast<uint64_t>(checkpoint_bytes)));
  if (fits()) return text.str();

  text << "does not fit: " << bytes_text(total_bytes() - available) << " are missing\n";
  for (const Remedy& remedy : remedies) {
    text << "  with " << remedy.change << ": " << bytes_text(remedy.bytes)
         << (remedy.bytes <= available ? ", which fits" : "") << "\n";
  }
  return text.str();
}

}  // namespace okapi
