// What training asks of the hardware beside backend.h: each operation's backward, and the
// optimizer's.
//
// Everything runs in the order of the stream. Gradients of weights are f32, and every function that
// writes one adds to it, so that accumulation over batches is the natural state; the trainer zeroes
// them. Activations and their gradients have one dtype, of those that TrainingBackend::computes_in.
// Reductions are made in a fixed order, unless TrainingStreamOptions gives that up: the same inputs
// give the same bytes at the same thread limit.
//
// A backend that trains returns itself, or a part of it, from Backend::training.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "backends/backend.h"

namespace okapi {

/// One sequence among the T rows of a training batch. It attends to itself only, causally. The
/// sequences of a call follow one another without a gap and are all its rows.
struct TrainingSequence {
  int64_t first_row = 0;
  int64_t n_tokens = 0;
  RotaryView query_rotation;  ///< at least n_tokens rows of D/2; empty: not rotated
  RotaryView key_rotation;    ///< the same, for keys: differs only under magnitudes (xPos)
  float score_scale = 1.0F;   ///< 1 / (sqrt(D) * attention_temperature)
};

/// Heads as they lie in a row of qkv [T, (H + 2K) D]: q, then k, then v.
struct HeadLayout {
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t row_width() const { return (n_heads + 2 * n_kv_heads) * head_dim; }
};

/// AdamW of Loshchilov and Hutter, arXiv 1711.05101: decay is decoupled from the gradient.
struct AdamWStep {
  float learning_rate = 0;
  float beta1 = 0.9F;
  float beta2 = 0.999F;
  float epsilon = 1e-8F;
  float weight_decay = 0;
  float gradient_scale = 1;  ///< multiplies the gradient first: clipping, and the loss's divisor
  int64_t step = 1;          ///< 1 for the first one: bias correction
};

/// One tensor in a step of AdamW: f32 vectors [n] in backend memory.
struct AdamWUpdate {
  TensorView parameter;
  ConstTensorView gradient;
  TensorView first_moment;
  TensorView second_moment;
  AdamWStep step;
};

class TrainingStream : public Stream {
 public:
  /// `memory` becomes zeros.
  virtual void zero(void* memory, size_t bytes) = 0;

  /// to += from, both contiguous, of one dtype and count.
  virtual void add(TensorView to, ConstTensorView from) = 0;

  /// table_gradient [V, C] f32, row ids[t] += out_gradient [T, C] row t.
  virtual void embed_backward(std::span<const int32_t> ids, ConstTensorView out_gradient,
                              TensorView table_gradient) = 0;

  /// Of out = residual / rms * weight: residual_gradient [T, C] += what reaches the residual
  /// through the norm; weight_gradient [C] f32 += its part, skipped when empty.
  virtual void rms_norm_backward(ConstTensorView residual, ConstTensorView weight, float epsilon,
                                 ConstTensorView out_gradient, TensorView residual_gradient,
                                 TensorView weight_gradient) = 0;

  /// x_gradient [T, K] = (or +=, if `adds`) out_gradient [T, N] times weight [N, K].
  virtual void linear_backward_input(ConstTensorView out_gradient, const PreparedWeight& weight,
                                     TensorView x_gradient, bool adds) = 0;

  /// weight_gradient [N, K] f32 += out_gradient [T, N] transposed times x [T, K].
  virtual void linear_backward_weight(ConstTensorView out_gradient, ConstTensorView x,
                                      TensorView weight_gradient) = 0;

  /// out [M, N] = beta out + alpha op(a) op(b), where op transposes if its flag is set. Small
  /// products on plain matrices: LoRA's branches. Rows may lie further apart than their length
  /// (strides[0]), so that a projection inside a fused matrix is a view.
  virtual void matmul(ConstTensorView a, bool transpose_a, ConstTensorView b, bool transpose_b,
                      float alpha, float beta, TensorView out) = 0;

  /// Rotates q and k of every sequence in place; `backward` applies the transpose instead, which
  /// turns gradients of rotated q and k into those of q and k.
  virtual void rotate(TensorView qkv, const HeadLayout& heads,
                      std::span<const TrainingSequence> sequences, bool backward) = 0;

  /// out [T, H D] = causal attention on rotated qkv; log_sums [T, H] f32 = log of each row's sum of
  /// exp(score), which the backward recomputes its tiles from. Memory linear in T.
  virtual void attention_forward(ConstTensorView qkv, const HeadLayout& heads,
                                 std::span<const TrainingSequence> sequences, TensorView out,
                                 TensorView log_sums) = 0;

  /// qkv_gradient [T, (H + 2K) D], of rotated q and k, = what out_gradient [T, H D] makes of them.
  virtual void attention_backward(ConstTensorView qkv, const HeadLayout& heads,
                                  std::span<const TrainingSequence> sequences, ConstTensorView out,
                                  ConstTensorView log_sums, ConstTensorView out_gradient,
                                  TensorView qkv_gradient) = 0;

  /// gate_up_gradient [T, 2F] = that of out = silu(gate) * up. It may be gate_up itself.
  virtual void swiglu_backward(ConstTensorView gate_up, ConstTensorView out_gradient,
                               TensorView gate_up_gradient) = 0;

  /// Sum over t with targets[t] >= 0 of weights[t] * -log softmax(hidden[t] weight^T)[targets[t]],
  /// in double, and its gradients: hidden_gradient [T, C] is written, weight_gradient [V, C] f32
  /// is added to (either is skipped when empty). nll [T] f32 gets the unweighted losses, 0 where
  /// there is no target, unless empty. `weights` [T] may be empty: all 1. Chunks of tokens and
  /// vocabulary: no [T, V] matrix. Tokens without a target cost nothing.
  virtual double cross_entropy(ConstTensorView hidden, const PreparedWeight& weight,
                               std::span<const int32_t> targets, std::span<const float> weights,
                               TensorView nll, TensorView hidden_gradient,
                               TensorView weight_gradient) = 0;

  /// out = x with each element zeroed with probability p and the others divided by 1 - p. The
  /// choice is a hash of (seed, row * columns + column), so that a backward repeats it. x [T, N]
  /// and out [T, N] may have rows apart; `out` may be x.
  virtual void dropout(ConstTensorView x, uint64_t seed, float probability, TensorView out) = 0;

  /// Sum of squares of contiguous f32 tensors, in double: each one's sum, added in their order.
  virtual double squared_norm(std::span<const ConstTensorView> tensors) = 0;
  double squared_norm(ConstTensorView x) { return squared_norm({&x, 1}); }

  /// One step of AdamW on each of the tensors, which do not overlap.
  virtual void adamw(std::span<const AdamWUpdate> updates) = 0;
  void adamw(TensorView parameter, ConstTensorView gradient, TensorView first_moment,
             TensorView second_moment, const AdamWStep& step) {
    const AdamWUpdate update{parameter, gradient, first_moment, second_moment, step};
    adamw({&update, 1});
  }

  /// Brings the values of weights made by TrainingBackend::trainable_weight up to their masters'.
  virtual void refresh(std::span<PreparedWeight* const> weights) = 0;
  void refresh(PreparedWeight& weight) {
    PreparedWeight* const only = &weight;
    refresh({&only, 1});
  }
};

struct TrainingStreamOptions {
  /// Whether every reduction has a fixed order. Without it a backend may choose a faster way whose
  /// sums differ in their rounding from one call to the next.
  bool deterministic = true;
};

/// Memory that operations take for themselves.
struct TrainingScratch {
  uint64_t logits = 0;     ///< chunks of the loss
  uint64_t attention = 0;  ///< what attention gathers and sums up on the way
};

class TrainingBackend {
 public:
  virtual ~TrainingBackend() = default;

  virtual std::unique_ptr<TrainingStream> create_training_stream(
      const TrainingStreamOptions& options) = 0;
  std::unique_ptr<TrainingStream> create_training_stream() {
    return create_training_stream(TrainingStreamOptions());
  }

  /// Whether activations and their gradients may be of this dtype.
  virtual bool computes_in(DType activations) const = 0;

  /// A weight for products with such activations that changes: its values are those which `master`
  /// [N, K] f32, in backend memory and outliving it, had at the last TrainingStream::refresh,
  /// rounded to the activations' dtype. It may read the master itself, so that no second copy is
  /// kept; PreparedWeight::bytes counts what it keeps besides.
  virtual std::unique_ptr<PreparedWeight> trainable_weight(TensorView master,
                                                           DType activations) = 0;

  /// For plans: about what a stream with these options allocates besides, for batches of
  /// n_sequences times n_tokens.
  virtual TrainingScratch scratch(const TrainingStreamOptions& options, int64_t n_sequences,
                                  int64_t n_tokens, const HeadLayout& heads, int64_t vocab_size,
                                  DType activations) const = 0;
};

}  // namespace okapi
