// What the kernels of training's attention are told, and which there are.
#pragma once

#include <optional>

#include "backends/cuda/kv_sequences.h"
#include "backends/cuda/queue.h"

namespace okapi::cuda {

/// Rows of q, k, v and of their gradients; log sums and `row_sums`, the products of each row of the
/// output with its gradient, are [T, H].
struct AttentionGradient {
  const void* qkv;
  void* qkv_gradient;
  const void* out;
  const void* out_gradient;
  const float* log_sums;
  float* row_sums;
  const SequenceRow* sequences;
  int64_t n_rows;
  int64_t row_stride;
  int64_t gradient_stride;
  int64_t out_stride;
  int64_t out_gradient_stride;
  int64_t log_sums_stride;
  int32_t n_sequences;
  int32_t most_tokens;  ///< of a sequence
  int32_t n_heads;
  int32_t n_kv_heads;
  int32_t head_dim;
};

/// What one call of cuDNN's backward in a fixed order takes of a batch: some whole sequences, or
/// some heads of keys of one, with the queries that share them.
struct BackwardPart {
  int64_t n_sequences = 0;
  int64_t n_kv_heads = 0;
  int64_t weights_bytes = 0;  ///< of the gradients of weights, which such a call keeps
};

/// Parts whose gradients of weights are at most a thirty-second of the device's memory; none where
/// one head of keys has more. It depends on the shape and the device alone, since another part is
/// another kernel, and so another result.
std::optional<BackwardPart> part_in_fixed_order(int64_t n_sequences, int64_t n_tokens,
                                                const HeadLayout& heads, size_t device_bytes);

constexpr int64_t kMostTileHeadDim = 128;

/// All of them write every row of the gradient, and begin with row_sums. On the tensor cores: bf16,
/// head_dim a multiple of 8 up to kMostTileHeadDim, rows aligned to 16 bytes.
void launch_attention_backward(Queue& queue, const AttentionGradient& input);
/// Any even head_dim up to 256, f32 or bf16.
void launch_generic_attention_backward(Queue& queue, const AttentionGradient& input, DType dtype);
void launch_row_sums(Queue& queue, const AttentionGradient& input, DType dtype);

}  // namespace okapi::cuda
