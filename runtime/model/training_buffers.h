// The activations of a training pass: what the backward pass reads, and where gradients run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backends/backend.h"
#include "runtime/device/tensor.h"
#include "runtime/model/model_config.h"

namespace okapi {

/// What a layer computes on the way, of T tokens.
enum class Activation { normed, qkv, attended, log_sums, middle, ffn_normed, gate_up, activated };
inline constexpr size_t kNActivations = 8;

/// Whether an activation is there once and not per layer. A norm's or a gate's output is made again
/// from what stands before it in a hundredth of a layer's time, and they are a third of its memory
/// (as Korthikanti et al. 2022, arXiv:2205.05198, choose what to recompute).
inline constexpr bool is_made_again(Activation name) {
  return name == Activation::normed || name == Activation::ffn_normed ||
         name == Activation::activated;
}

/// What is there once, whatever the number of layers.
enum class SharedBuffer {
  hidden,
  head_gradient,
  gradient,
  attended_gradient,
  qkv_gradient,
  nll,
  branch,
  branch_gradient,
  dropped
};
inline constexpr size_t kNSharedBuffers = 9;

/// How much a pass needs.
struct BufferShape {
  int64_t n_tokens = 0;
  int64_t n_residuals = 0;     ///< inputs of layers that are kept at once
  int64_t n_kept_layers = 1;   ///< layers whose activations are kept at once, at least 1, but for
                               ///< those that are made again
  int64_t branch_width = 0;    ///< sum of ranks beside one matrix; 0: no branches
  bool has_gradients = false;  ///< a backward pass follows
  bool has_dropout = false;
};

/// Bytes that buffers of this shape take: what a plan says and reserve() allocates.
uint64_t buffer_bytes(const ModelConfig& config, DType activation_dtype, const BufferShape& shape);

class TrainingBuffers {
 public:
  TrainingBuffers(std::shared_ptr<Backend> backend, const ModelConfig& config, DType activations);

  /// Makes room. Contents are undefined afterwards; the stream must have finished with them.
  void reserve(const BufferShape& shape);

  TensorView residual(int64_t index, int64_t n_tokens);
  TensorView activation(int64_t kept_layer, Activation name, int64_t n_tokens);
  TensorView shared(SharedBuffer name, int64_t n_tokens);
  /// [n_tokens, columns] of a buffer of scratch: branch, branch_gradient, dropped.
  TensorView scratch(SharedBuffer name, int64_t n_tokens, int64_t columns);

  uint64_t bytes() const;

 private:
  std::shared_ptr<Backend> backend_;
  const ModelConfig& config_;
  DType dtype_;
  BufferShape shape_;
  std::vector<Tensor> residuals_;
  std::vector<Tensor> activations_;  ///< [n_kept_layers * kNActivations]
  std::vector<Tensor> shared_;       ///< [kNSharedBuffers]
};

}  // namespace okapi
