#include "runtime/model/transformer_training.h"

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "runtime/base/random.h"

namespace okapi {

namespace {

/// Some columns of a matrix, as a view with rows apart.
template <typename View>
View columns(View matrix, int64_t first, int64_t n) {
  using Byte = std::conditional_t<std::is_same_v<View, TensorView>, std::byte, const std::byte>;
  matrix.data =
      static_cast<Byte*>(matrix.data) + static_cast<size_t>(first) * size_of(matrix.dtype);
  matrix.shape[1] = n;
  return matrix;
}

uint64_t dropout_seed(uint64_t batch_seed, const LoraBranch& branch) {
  return Random(batch_seed, branch.dropout_stream).next();
}

}  // namespace

TransformerTraining::TransformerTraining(std::shared_ptr<Backend> backend,
                                         const ModelConfig& config, const TrainedNetwork& network,
                                         DType activations, TrainingStream& stream)
    : config_(config),
      network_(network),
      stream_(stream),
      buffers_(std::move(backend), config, activations),
      heads_{config.n_heads, config.n_kv_heads, config.head_dim},
      epsilon_(static_cast<float>(config.rms_norm_eps)) {}

BufferShape TransformerTraining::buffer_shape(int64_t n_tokens, bool recompute, int64_t n_layers,
                                              const TrainedNetwork& network) {
  // Layers below the first one that is trained are passed once and need not be remembered.
  const int64_t n_backward = std::max<int64_t>(0, n_layers - first_trained_layer(network));
  BufferShape shape;
  shape.n_tokens = n_tokens;
  shape.n_residuals = std::max<int64_t>(2, n_backward + 1);
  shape.n_kept_layers = recompute ? 1 : std::max<int64_t>(1, n_backward);
  shape.branch_width = widest_branches(network);
  shape.has_gradients = true;
  shape.has_dropout = has_dropout(network);
  return shape;
}

BufferShape TransformerTraining::buffer_shape(int64_t n_tokens, bool recompute) const {
  return buffer_shape(n_tokens, recompute, config_.n_layers, network_);
}

void TransformerTraining::check(std::span<const CancelToken* const> cancels) const {
  for (const CancelToken* cancel : cancels) cancel->check();
}

TransformerTraining::LayerViews TransformerTraining::views(int64_t kept_layer, int64_t residual) {
  const auto view = [&](Activation name) {
    return buffers_.activation(kept_layer, name, n_tokens_);
  };
  return {buffers_.residual(residual, n_tokens_),
          view(Activation::normed),
          view(Activation::qkv),
          view(Activation::attended),
          view(Activation::log_sums),
          view(Activation::middle),
          view(Activation::ffn_normed),
          view(Activation::gate_up),
          view(Activation::activated)};
}

std::span<const TrainingSequence> TransformerTraining::sequences(int64_t layer) const {
  const int32_t group = batch_->group_of_layer[static_cast<size_t>(layer)];
  return batch_->sequences_of_group[static_cast<size_t>(group)];
}

ConstTensorView TransformerTraining::dropped_input(const LoraBranch& branch, ConstTensorView x) {
  if (!drops_ || branch.dropout == 0) return x;
  const TensorView dropped = buffers_.scratch(SharedBuffer::dropped, n_tokens_, x.shape[1]);
  stream_.dropout(x, dropout_seed(batch_->dropout_seed, branch), branch.dropout, dropped);
  return dropped;
}

void TransformerTraining::linear(const TrainedMatrix& matrix, ConstTensorView x, TensorView out) {
  stream_.linear(x, *matrix.weight, out);
  for (const LoraBranch& branch : matrix.branches) {
    const TensorView narrow = buffers_.scratch(SharedBuffer::branch, n_tokens_, branch.rank());
    stream_.matmul(dropped_input(branch, x), false, branch.a, true, 1, 0, narrow);
    stream_.matmul(narrow, false, branch.b, true, branch.scale, 1,
                   columns(out, branch.first_column, branch.n_columns()));
  }
}

// `x_gradient` may be the memory of x: everything that reads x comes first.
void TransformerTraining::linear_backward(const TrainedMatrix& matrix, ConstTensorView x,
                                          ConstTensorView out_gradient, TensorView x_gradient) {
  if (!matrix.gradient.empty()) {
    stream_.linear_backward_weight(out_gradient, x, matrix.gradient);
  }
  // Of out += s (d A^T) B^T with n = d A^T: dn = s dout B, dB += s dout^T n, dA += dn^T d.
  int64_t first = 0;
  std::vector<TensorView> narrow_gradients;
  const int64_t width = std::max<int64_t>(1, widest_branches(network_));
  for (const LoraBranch& branch : matrix.branches) {
    const ConstTensorView part = columns(out_gradient, branch.first_column, branch.n_columns());
    const TensorView all = buffers_.scratch(SharedBuffer::branch_gradient, n_tokens_, width);
    const TensorView narrow_gradient = columns(all, first, branch.rank());
    first += branch.rank();
    stream_.matmul(part, false, branch.b, false, branch.scale, 0, narrow_gradient);
    narrow_gradients.push_back(narrow_gradient);
    if (branch.a_gradient.empty() && branch.b_gradient.empty()) continue;

    const ConstTensorView dropped = dropped_input(branch, x);
    if (!branch.b_gradient.empty()) {
      const TensorView narrow = buffers_.scratch(SharedBuffer::branch, n_tokens_, branch.rank());
      stream_.matmul(dropped, false, branch.a, true, 1, 0, narrow);
      stream_.matmul(part, true, narrow, false, branch.scale, 1, branch.b_gradient);
    }
    if (!branch.a_gradient.empty()) {
      stream_.matmul(narrow_gradient, true, dropped, false, 1, 1, branch.a_gradient);
    }
  }
  if (x_gradient.empty()) return;

  stream_.linear_backward_input(out_gradient, *matrix.weight, x_gradient, /*adds=*/false);
  for (size_t i = 0; i < matrix.branches.size(); ++i) {
    const LoraBranch& branch = matrix.branches[i];
    if (!drops_ || branch.dropout == 0) {
      stream_.matmul(narrow_gradients[i], false, branch.a, false, 1, 1, x_gradient);
      continue;
    }
    const TensorView dropped =
        buffers_.scratch(SharedBuffer::dropped, n_tokens_, x_gradient.shape[1]);
    stream_.matmul(narrow_gradients[i], false, branch.a, false, 1, 0, dropped);
    stream_.dropout(dropped, dropout_seed(batch_->dropout_seed, branch), branch.dropout, dropped);
    stream_.add(x_gradient, dropped);
  }
}

// `pending` is what the residual has still to receive: a product writes where the next residual
// will stand, and the norm that follows adds the residual so far to it.
void TransformerTraining::forward_layer(int64_t layer, const LayerViews& at,
                                        ConstTensorView pending) {
  const TrainedLayer& weights = network_.layers[static_cast<size_t>(layer)];

  // Attention.
  stream_.add_rms_norm(at.input, pending, weights.input_norm.weight, epsilon_, at.normed);
  linear(weights.qkv, at.normed, at.qkv);
  stream_.rotate(at.qkv, heads_, sequences(layer), /*backward=*/false);
  stream_.attention_forward(at.qkv, heads_, sequences(layer), at.attended, at.log_sums);
  linear(weights.out, at.attended, at.middle);

  // Feed-forward.
  stream_.add_rms_norm(at.middle, at.input, weights.attention_norm.weight, epsilon_, at.ffn_normed);
  linear(weights.gate_up, at.ffn_normed, at.gate_up);
  stream_.swiglu(at.gate_up, at.activated);
}

// What the layer's backward pass reads and is not kept (is_made_again()), from what is.
void TransformerTraining::make_again(int64_t layer, const LayerViews& at) {
  const TrainedLayer& weights = network_.layers[static_cast<size_t>(layer)];
  stream_.add_rms_norm(at.input, {}, weights.input_norm.weight, epsilon_, at.normed);
  stream_.add_rms_norm(at.middle, {}, weights.attention_norm.weight, epsilon_, at.ffn_normed);
  stream_.swiglu(at.gate_up, at.activated);
}

// Turns the gradient of the layer's output into that of its input. An activation that nothing reads
// any more lends its memory to its gradient.
void TransformerTraining::backward_layer(int64_t layer, const LayerViews& at, bool goes_on) {
  const TrainedLayer& weights = network_.layers[static_cast<size_t>(layer)];
  const TensorView gradient = buffers_.shared(SharedBuffer::gradient, n_tokens_);

  // Feed-forward.
  linear_backward(weights.down, at.activated, gradient, at.activated);
  stream_.swiglu_backward(at.gate_up, at.activated, at.gate_up);
  linear_backward(weights.gate_up, at.ffn_normed, at.gate_up, at.ffn_normed);
  stream_.rms_norm_backward(at.middle, weights.attention_norm.weight, epsilon_, at.ffn_normed,
                            gradient, weights.attention_norm.gradient);

  // Attention.
  const TensorView attended_gradient = buffers_.shared(SharedBuffer::attended_gradient, n_tokens_);
  const TensorView qkv_gradient = buffers_.shared(SharedBuffer::qkv_gradient, n_tokens_);
  linear_backward(weights.out, at.attended, gradient, attended_gradient);
  stream_.attention_backward(at.qkv, heads_, sequences(layer), at.attended, at.log_sums,
                             attended_gradient, qkv_gradient);
  stream_.rotate(qkv_gradient, heads_, sequences(layer), /*backward=*/true);
  const bool norm_reads = goes_on || !weights.input_norm.gradient.empty();
  linear_backward(weights.qkv, at.normed, qkv_gradient, norm_reads ? at.normed : TensorView());
  if (norm_reads) {
    stream_.rms_norm_backward(at.input, weights.input_norm.weight, epsilon_, at.normed, gradient,
                              weights.input_norm.gradient);
  }
}

double TransformerTraining::add_gradients(const TrainingBatch& batch, bool recompute,
                                          std::span<const CancelToken* const> cancels) {
  batch_ = &batch;
  n_tokens_ = static_cast<int64_t>(batch.ids.size());
  drops_ = true;
  stream_.synchronize();
  buffers_.reserve(buffer_shape(n_tokens_, recompute));

  // Layers below `first` alternate between two residuals; from there on each has its own, number 0
  // being the input of layer `first`.
  const int64_t n_layers = config_.n_layers;
  const int64_t first = first_trained_layer(network_);
  const auto residual_of = [&](int64_t layer) {
    return layer >= first ? layer - first : (first - layer) % 2;
  };
  const auto views_of = [&](int64_t layer) {
    const int64_t kept = recompute || layer < first ? 0 : layer - first;
    return views(kept, residual_of(layer));
  };

  stream_.embed(*network_.embedding.weight, batch.ids,
                buffers_.residual(residual_of(0), n_tokens_));
  ConstTensorView pending;
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    check(cancels);
    const LayerViews at = views_of(layer);
    forward_layer(layer, at, pending);
    linear(network_.layers[static_cast<size_t>(layer)].down, at.activated,
           buffers_.residual(residual_of(layer + 1), n_tokens_));
    pending = at.middle;
  }

  // Loss.
  const TensorView last = buffers_.residual(residual_of(n_layers), n_tokens_);
  const TensorView hidden = buffers_.shared(SharedBuffer::hidden, n_tokens_);
  const TensorView head_gradient = buffers_.shared(SharedBuffer::head_gradient, n_tokens_);
  const TensorView gradient = buffers_.shared(SharedBuffer::gradient, n_tokens_);
  stream_.add_rms_norm(last, pending, network_.final_norm.weight, epsilon_, hidden);
  const double loss =
      stream_.cross_entropy(hidden, *network_.output.weight, batch.targets, batch.weights, {},
                            head_gradient, network_.output.gradient);
  if (first == n_layers && network_.final_norm.gradient.empty()) return loss;
  stream_.zero(gradient.data, static_cast<size_t>(gradient.count()) * size_of(gradient.dtype));
  stream_.rms_norm_backward(last, network_.final_norm.weight, epsilon_, head_gradient, gradient,
                            network_.final_norm.gradient);

  // Backward. The last layer's activations are still there.
  const bool embeds = !network_.embedding.gradient.empty();
  for (int64_t layer = n_layers - 1; layer >= first; --layer) {
    check(cancels);
    const LayerViews at = views_of(layer);
    if (recompute && layer < n_layers - 1) {
      forward_layer(layer, at, {});
    } else if (layer < n_layers - 1) {
      make_again(layer, at);
    }
    backward_layer(layer, at, embeds || layer > first);
  }
  if (embeds) stream_.embed_backward(batch.ids, gradient, network_.embedding.gradient);
  return loss;
}

void TransformerTraining::score(const TrainingBatch& batch, std::span<float> nll,
                                std::span<const CancelToken* const> cancels) {
  batch_ = &batch;
  n_tokens_ = static_cast<int64_t>(batch.ids.size());
  drops_ = false;
  stream_.synchronize();
  BufferShape shape;
  shape.n_tokens = n_tokens_;
  shape.n_residuals = 2;
  shape.branch_width = widest_branches(network_);
  buffers_.reserve(shape);

  stream_.embed(*network_.embedding.weight, batch.ids, buffers_.residual(0, n_tokens_));
  ConstTensorView pending;
  for (int64_t layer = 0; layer < config_.n_layers; ++layer) {
    check(cancels);
    const LayerViews at = views(0, layer % 2);
    forward_layer(layer, at, pending);
    linear(network_.layers[static_cast<size_t>(layer)].down, at.activated,
           buffers_.residual((layer + 1) % 2, n_tokens_));
    pending = at.middle;
  }
  const TensorView hidden = buffers_.shared(SharedBuffer::hidden, n_tokens_);
  const TensorView losses = buffers_.shared(SharedBuffer::nll, n_tokens_);
  stream_.add_rms_norm(buffers_.residual(config_.n_layers % 2, n_tokens_), pending,
                       network_.final_norm.weight, epsilon_, hidden);
  const TensorView flat(losses.data, DType::f32, {n_tokens_});
  stream_.cross_entropy(hidden, *network_.output.weight, batch.targets, {}, flat, {}, {});
  stream_.download(nll.data(), flat.data, nll.size() * sizeof(float));
  stream_.synchronize();
}

}  // namespace okapi
