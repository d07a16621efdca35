#include "runtime/model/adapter_weights.h"

#include <cstddef>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/model/model.h"
#include "runtime/model/permute_pairs.h"
#include "runtime/model/workspace.h"

namespace okapi {

namespace {

void check_fits(const ModelConfig& config, const Adapter& adapter) {
  for (const auto& [key, module] : adapter.modules()) {
    const ProjectionShape shape = projection_shape(config, key.second);
    const bool fits = key.first < config.n_layers && module.a.view().shape[1] == shape.columns &&
                      module.b.view().shape[0] == shape.rows;
    if (fits) continue;
    throw Error(Code::invalid_argument,
                adapter_tensor_name(key, 'A') + ": the adapter was made for another model")
        .in("adapter")
        .field(adapter_tensor_name(key, 'A'));
  }
}

}  // namespace

std::shared_ptr<const AdapterWeights> AdapterWeights::attach(
    const std::shared_ptr<const Model>& model, const Adapter& adapter) {
  const std::shared_ptr<Backend>& backend = model->context()->backend();
  if (backend->training() == nullptr) {
    throw Error(Code::unimplemented, "the backend " + backend->name() + " has no adapters")
        .in("adapter");
  }
  const ModelConfig& config = model->config();
  check_fits(config, adapter);
  std::shared_ptr<AdapterWeights> weights(new AdapterWeights());
  weights->model_ = model;
  weights->shape_ = adapter.shape();
  weights->sha256_ = adapter.sha256();
  weights->description_ = adapter.describe();
  weights->layers_.resize(static_cast<size_t>(config.n_layers));

  const std::unique_ptr<Stream> stream = backend->create_stream();
  const auto upload = [&](ConstTensorView host) {
    weights->tensors_.push_back(std::make_unique<Tensor>(
        backend, DType::f32, std::initializer_list<int64_t>{host.shape[0], host.shape[1]}));
    Tensor& tensor = *weights->tensors_.back();
    stream->upload(tensor.view().data, host.data, tensor.bytes());
    stream->synchronize();
    return std::as_const(tensor).view();
  };
  for (const auto& [key, module] : adapter.modules()) {
    const auto [layer, projection] = key;
    const ProjectionPlace place = projection_place(config, projection);
    const int64_t n_heads = n_rotated_heads(config, projection);
    LoraBranch branch;
    branch.first_column = place.first_column;
    branch.scale = static_cast<float>(adapter.shape().scale());
    branch.a = upload(module.a.view());
    HostTensor permuted;
    ConstTensorView b = module.b.view();
    if (n_heads > 0 && model->pair_layout() != PairLayout::half_split) {
      permuted =
          permute_pairs(b, n_heads, config.head_dim, model->pair_layout(), PairLayout::half_split);
      b = std::as_const(permuted).view();
    }
    branch.b = upload(b);
    weights->keys_.push_back(key);
    weights->layers_[static_cast<size_t>(layer)][static_cast<size_t>(place.matrix)].push_back(
        branch);
  }
  weights->description_["bytes"] = weights->bytes();
  return weights;
}

Adapter AdapterWeights::download() const {
  const ModelConfig& config = model_->config();
  const std::unique_ptr<Stream> stream = model_->context()->backend()->create_stream();
  const auto fetch = [&](const Tensor& tensor) {
    const ConstTensorView view = tensor.view();
    HostTensor values(DType::f32, {view.shape[0], view.shape[1]});
    stream->download(values.view().data, view.data, tensor.bytes());
    stream->synchronize();
    return values;
  };
  std::map<Adapter::Key, AdapterModule> modules;
  for (size_t i = 0; i < keys_.size(); ++i) {
    AdapterModule module{fetch(*tensors_[2 * i]), fetch(*tensors_[2 * i + 1])};
    const int64_t n_heads = n_rotated_heads(config, keys_[i].second);
    if (n_heads > 0 && model_->pair_layout() != PairLayout::half_split) {
      module.b = permute_pairs(std::as_const(module.b).view(), n_heads, config.head_dim,
                               PairLayout::half_split, model_->pair_layout());
    }
    modules.emplace(keys_[i], std::move(module));
  }
  return Adapter::of(config, shape_, std::move(modules));
}

void AdapterWeights::add_branches(Workspace& workspace, int64_t layer, LayerMatrix matrix,
                                  ConstTensorView x, TensorView out) const {
  TrainingStream& stream = workspace.training_stream();
  for (const LoraBranch& branch :
       layers_[static_cast<size_t>(layer)][static_cast<size_t>(matrix)]) {
    const TensorView narrow = workspace.buffer(Buffer::branch, x.shape[0], branch.rank());
    TensorView part = out;
    part.data = static_cast<std::byte*>(out.data) +
                static_cast<size_t>(branch.first_column) * size_of(out.dtype);
    part.shape[1] = branch.n_columns();
    stream.matmul(x, false, branch.a, true, 1, 0, narrow);
    stream.matmul(narrow, false, branch.b, true, branch.scale, 1, part);
  }
}

uint64_t AdapterWeights::bytes() const {
  uint64_t bytes = 0;
  for (const auto& tensor : tensors_) bytes += tensor->bytes();
  return bytes;
}

}  // namespace okapi
