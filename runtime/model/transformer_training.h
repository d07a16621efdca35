// The forward and backward passes of a Llama in training: the operations of transformer.cpp in the
// same order, each with its backward, over whole sequences instead of a cache. No autograd graph.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/training.h"
#include "runtime/base/cancel.h"
#include "runtime/model/model_config.h"
#include "runtime/model/training_buffers.h"
#include "runtime/model/training_network.h"

namespace okapi {

/// T tokens of several sequences, one after another.
struct TrainingBatch {
  std::span<const int32_t> ids;      ///< [T]
  std::span<const int32_t> targets;  ///< [T] what follows; -1: carries no loss
  std::span<const float> weights;    ///< [T] of the losses in their sum

  /// How attention sees the sequences: layer l uses sequences_of_group[group_of_layer[l]], which
  /// differ in rotation and score scale only.
  std::span<const std::vector<TrainingSequence>> sequences_of_group;
  std::span<const int32_t> group_of_layer;  ///< [n_layers]

  uint64_t dropout_seed = 0;  ///< of this batch; the branches' dropout draws from it
};

/// Not for two threads at once.
class TransformerTraining {
 public:
  /// `activations`: one of the dtypes that the backend's training computes in.
  TransformerTraining(std::shared_ptr<Backend> backend, const ModelConfig& config,
                      const TrainedNetwork& network, DType activations, TrainingStream& stream);

  /// Adds the gradients of the weighted loss of the batch and returns that loss. With `recompute`
  /// only the inputs of layers are kept, and the rest is computed again in the backward pass: the
  /// same bytes, with less memory and a third more work. Without it the outputs of norms and gates
  /// are, which is little work. Throws cancelled between two layers;
  /// gradients are then of no use.
  double add_gradients(const TrainingBatch& batch, bool recompute,
                       std::span<const CancelToken* const> cancels);

  /// nll [T] of the targets, without dropout and without keeping anything; 0 where there is none.
  /// Weights are not used.
  void score(const TrainingBatch& batch, std::span<float> nll,
             std::span<const CancelToken* const> cancels);

  /// What add_gradients needs for T tokens, for plans.
  BufferShape buffer_shape(int64_t n_tokens, bool recompute) const;
  static BufferShape buffer_shape(int64_t n_tokens, bool recompute, int64_t n_layers,
                                  const TrainedNetwork& network);

  uint64_t buffer_bytes() const { return buffers_.bytes(); }

 private:
  /// Where a layer reads and writes.
  struct LayerViews {
    TensorView input;  ///< the residual before the layer
    TensorView normed;
    TensorView qkv;
    TensorView attended;
    TensorView log_sums;
    TensorView middle;  ///< the residual between attention and feed-forward
    TensorView ffn_normed;
    TensorView gate_up;
    TensorView activated;
  };

  LayerViews views(int64_t kept_layer, int64_t residual);
  std::span<const TrainingSequence> sequences(int64_t layer) const;

  void forward_layer(int64_t layer, const LayerViews& at, ConstTensorView pending);
  void make_again(int64_t layer, const LayerViews& at);
  void backward_layer(int64_t layer, const LayerViews& at, bool goes_on);
  void linear(const TrainedMatrix& matrix, ConstTensorView x, TensorView out);
  void linear_backward(const TrainedMatrix& matrix, ConstTensorView x, ConstTensorView out_gradient,
                       TensorView x_gradient);
  ConstTensorView dropped_input(const LoraBranch& branch, ConstTensorView x);
  void check(std::span<const CancelToken* const> cancels) const;

  const ModelConfig& config_;
  const TrainedNetwork& network_;
  TrainingStream& stream_;
  TrainingBuffers buffers_;
  HeadLayout heads_;
  float epsilon_;

  const TrainingBatch* batch_ = nullptr;  ///< of the call in progress
  int64_t n_tokens_ = 0;
  bool drops_ = false;  ///< dropout is on: not when scoring
};

}  // namespace okapi
