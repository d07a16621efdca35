#include "runtime/training/plan_inventory.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "runtime/model/llama_tensors.h"
#include "runtime/training/parameter_filter.h"

namespace okapi {

namespace {

constexpr const char* kEmbeddingName = "model.embed_tokens.weight";

/// A view that is not empty and must not be read.
TensorView placeholder(int64_t rows, int64_t columns) {
  static float nowhere;
  return TensorView(&nowhere, DType::f32, {rows, columns});
}

/// Walks the network in the order in which Parameters makes it.
class InventoryMaker {
 public:
  InventoryMaker(const TrainerConfig& config, const ModelConfig& model, DType base_dtype,
                 const std::optional<AdapterShape>& adapter)
      : config_(config), model_(model), base_dtype_(base_dtype), adapter_(adapter) {
    for_each_llama_tensor(
        model, [&](const ExpectedTensor& tensor) { shapes_[tensor.name] = tensor.shape; });
  }

  PlanInventory make() {
    result_.network.embedding = matrix({kEmbeddingName});
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
  /// Moments are those of what is trained; masters and gradients also of what is fused with it.
  void count_trained(uint64_t n_trained, uint64_t n_fused) {
    result_.n_trained += n_trained;
    result_.bytes.masters += n_fused * sizeof(float);
    result_.bytes.gradients += n_fused * sizeof(float);
    result_.bytes.moments += 2 * n_trained * sizeof(float);
  }

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
    if (n_trained == 0) {
      result_.bytes.frozen += n_all * size_of(base_dtype_);
      return {};
    }
    count_trained(n_trained, n_all);
    result_.n_trained_base += n_trained;
    result_.n_mastered += n_all;
    const bool is_lookup = names.front() == kEmbeddingName && !model_.tied_embeddings;
    if (!is_lookup) result_.n_multiplied += n_trained;
    TrainedMatrix view;
    view.gradient = placeholder(1, 1);
    return view;
  }

  TrainedNorm norm(const std::string& name) {
    const auto n = static_cast<uint64_t>(model_.d_model);
    result_.n_parameters += n;
    if (!selects_parameter(config_.trained, name, /*is_adapter=*/false)) {
      result_.bytes.frozen += n * sizeof(float);
      return {};
    }
    count_trained(n, n);
    result_.n_trained_base += n;
    TrainedNorm view;
    view.gradient = placeholder(1, 1);
    return view;
  }

  void add_branches(int64_t layer, TrainedLayer& weights) {
    if (!adapter_) return;
    for (const Projection projection : adapter_->targets) {
      const ProjectionShape shape = projection_shape(model_, projection);
      LoraBranch branch;
      branch.dropout = static_cast<float>(adapter_->dropout);
      branch.a = placeholder(adapter_->rank, shape.columns);
      branch.b = placeholder(shape.rows, adapter_->rank);
      const Adapter::Key key(layer, projection);
      branch.a_gradient = branch_gradient(adapter_tensor_name(key, 'A'), branch.a);
      branch.b_gradient = branch_gradient(adapter_tensor_name(key, 'B'), branch.b);
      matrix_of(weights, projection_place(model_, projection).matrix).branches.push_back(branch);
    }
  }

  TensorView branch_gradient(const std::string& name, const ConstTensorView& value) {
    const auto n = static_cast<uint64_t>(value.count());
    if (!selects_parameter(config_.trained, name, /*is_adapter=*/true)) {
      result_.bytes.frozen += n * sizeof(float);
      return {};
    }
    count_trained(n, n);
    result_.n_multiplied += n;
    return placeholder(1, 1);
  }

  const TrainerConfig& config_;
  const ModelConfig& model_;
  DType base_dtype_;
  const std::optional<AdapterShape>& adapter_;
  std::map<std::string, std::vector<int64_t>> shapes_;
  PlanInventory result_;
};

}  // namespace

PlanInventory take_inventory(const TrainerConfig& config, const ModelConfig& model,
                             DType base_dtype, const std::optional<AdapterShape>& adapter) {
  return InventoryMaker(config, model, base_dtype, adapter).make();
}

}  // namespace okapi
