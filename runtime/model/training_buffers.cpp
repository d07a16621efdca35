#include "runtime/model/training_buffers.h"

#include <algorithm>
#include <utility>

namespace okapi {

namespace {

int64_t qkv_width(const ModelConfig& config) {
  return (config.n_heads + 2 * config.n_kv_heads) * config.head_dim;
}

int64_t width_of(const ModelConfig& config, Activation name) {
  switch (name) {
    case Activation::qkv:
      return qkv_width(config);
    case Activation::attended:
      return config.n_heads * config.head_dim;
    case Activation::log_sums:
      return config.n_heads;
    case Activation::gate_up:
      return 2 * config.d_ff;
    case Activation::activated:
      return config.d_ff;
    default:
      return config.d_model;
  }
}

int64_t width_of(const ModelConfig& config, SharedBuffer name, const BufferShape& shape) {
  const int64_t widest = std::max({config.d_model, config.d_ff, config.n_heads * config.head_dim});
  switch (name) {
    case SharedBuffer::hidden:
      return config.d_model;
    case SharedBuffer::nll:
      return 1;
    case SharedBuffer::head_gradient:
    case SharedBuffer::gradient:
      return shape.has_gradients ? config.d_model : 0;
    case SharedBuffer::attended_gradient:
      return shape.has_gradients ? config.n_heads * config.head_dim : 0;
    case SharedBuffer::qkv_gradient:
      return shape.has_gradients ? qkv_width(config) : 0;
    case SharedBuffer::branch:
      return shape.branch_width;
    case SharedBuffer::branch_gradient:
      return shape.has_gradients ? shape.branch_width : 0;
    case SharedBuffer::dropped:
      return shape.has_dropout ? widest : 0;
  }
  return 0;
}

/// Log sums and losses are f32 whatever the activations are.
DType dtype_of(Activation name, DType dtype) {
  return name == Activation::log_sums ? DType::f32 : dtype;
}
DType dtype_of(SharedBuffer name, DType dtype) {
  return name == SharedBuffer::nll ? DType::f32 : dtype;
}

uint64_t bytes_of(int64_t n_tokens, int64_t width, DType dtype) {
  return static_cast<uint64_t>(n_tokens) * static_cast<uint64_t>(width) * size_of(dtype);
}

/// The same first rows of a buffer that may have room for more.
TensorView first_rows(Tensor& tensor, int64_t n_tokens, int64_t width) {
  return TensorView(tensor.view().data, tensor.view().dtype, {n_tokens, width});
}

}  // namespace

uint64_t buffer_bytes(const ModelConfig& config, DType dtype, const BufferShape& shape) {
  uint64_t bytes =
      static_cast<uint64_t>(shape.n_residuals) * bytes_of(shape.n_tokens, config.d_model, dtype);
  for (size_t i = 0; i < kNActivations; ++i) {
    const auto name = static_cast<Activation>(i);
    const int64_t n_layers = is_made_again(name) ? 1 : shape.n_kept_layers;
    bytes += static_cast<uint64_t>(n_layers) *
             bytes_of(shape.n_tokens, width_of(config, name), dtype_of(name, dtype));
  }
  for (size_t i = 0; i < kNSharedBuffers; ++i) {
    const auto name = static_cast<SharedBuffer>(i);
    bytes += bytes_of(shape.n_tokens, width_of(config, name, shape), dtype_of(name, dtype));
  }
  return bytes;
}

TrainingBuffers::TrainingBuffers(std::shared_ptr<Backend> backend, const ModelConfig& config,
                                 DType activations)
    : backend_(std::move(backend)),
      config_(config),
      dtype_(activations),
      shared_(kNSharedBuffers) {}

void TrainingBuffers::reserve(const BufferShape& wanted) {
  BufferShape shape = wanted;
  shape.n_tokens = std::max(shape.n_tokens, shape_.n_tokens);
  shape.n_residuals = std::max(shape.n_residuals, shape_.n_residuals);
  shape.n_kept_layers = std::max(shape.n_kept_layers, shape_.n_kept_layers);
  shape.branch_width = std::max(shape.branch_width, shape_.branch_width);
  shape.has_gradients = shape.has_gradients || shape_.has_gradients;
  shape.has_dropout = shape.has_dropout || shape_.has_dropout;

  const auto fit = [&](Tensor& tensor, int64_t width, DType type) {
    const uint64_t needed = bytes_of(shape.n_tokens, width, type);
    if (needed == 0 || (!tensor.empty() && tensor.bytes() >= needed)) return;
    tensor = Tensor();  // gone before its successor comes
    tensor = Tensor(backend_, type, {shape.n_tokens, width});
  };
  residuals_.resize(static_cast<size_t>(shape.n_residuals));
  for (Tensor& tensor : residuals_) fit(tensor, config_.d_model, dtype_);
  activations_.resize(static_cast<size_t>(shape.n_kept_layers) * kNActivations);
  for (size_t i = 0; i < activations_.size(); ++i) {
    const auto name = static_cast<Activation>(i % kNActivations);
    if (is_made_again(name) && i >= kNActivations) continue;
    fit(activations_[i], width_of(config_, name), dtype_of(name, dtype_));
  }
  for (size_t i = 0; i < kNSharedBuffers; ++i) {
    const auto name = static_cast<SharedBuffer>(i);
    fit(shared_[i], width_of(config_, name, shape), dtype_of(name, dtype_));
  }
  shape_ = shape;
}

TensorView TrainingBuffers::residual(int64_t index, int64_t n_tokens) {
  return first_rows(residuals_[static_cast<size_t>(index)], n_tokens, config_.d_model);
}

TensorView TrainingBuffers::activation(int64_t kept_layer, Activation name, int64_t n_tokens) {
  const size_t layer = is_made_again(name) ? 0 : static_cast<size_t>(kept_layer);
  const size_t index = layer * kNActivations + static_cast<size_t>(name);
  return first_rows(activations_[index], n_tokens, width_of(config_, name));
}

TensorView TrainingBuffers::shared(SharedBuffer name, int64_t n_tokens) {
  return first_rows(shared_[static_cast<size_t>(name)], n_tokens, width_of(config_, name, shape_));
}

TensorView TrainingBuffers::scratch(SharedBuffer name, int64_t n_tokens, int64_t columns) {
  return first_rows(shared_[static_cast<size_t>(name)], n_tokens, columns);
}

uint64_t TrainingBuffers::bytes() const {
  uint64_t bytes = 0;
  for (const std::vector<Tensor>* tensors : {&residuals_, &activations_, &shared_}) {
    for (const Tensor& tensor : *tensors) bytes += tensor.empty() ? 0 : tensor.bytes();
  }
  return bytes;
}

}  // namespace okapi
