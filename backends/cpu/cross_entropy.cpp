// The loss of a training batch and its gradients, without the logits of more than a chunk of
// tokens.
//
// A chunk's logits are made in blocks of the vocabulary, each folded into a running maximum and sum
// while it is in the cache (Milakov and Gimelshein 2018, arXiv:1805.02867); then they become their
// own gradients, in place, and block by block what reaches the hidden states and the weight. A
// chunk is as large as its logits may be: each one reads and writes the weight's gradient once.
// Making the logits twice instead, to hold one block at a time, would be a third more products.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "backends/cpu/checks.h"
#include "backends/cpu/product.h"
#include "backends/cpu/threads.h"
#include "backends/training_checks.h"

namespace okapi::cpu {

namespace {

constexpr int64_t kFewestTokens = 64;
constexpr int64_t kMostTokens = 1024;

struct TrainedRow {
  int64_t token = 0;  ///< of the call
  float maximum = -std::numeric_limits<float>::infinity();
  double sum = 0;  ///< of exp(logit - maximum)
};

/// One call of cross_entropy, and the scratch it works in.
struct LossCall {
  const Shared& shared;
  Scratch& scratch;
  const CpuWeight& weight;
  std::span<const int32_t> targets;
  std::span<const float> weights;  ///< of the tokens' losses; empty: all 1
  ConstTensorView hidden;
  TensorView nll;              ///< may be empty, as the two below
  TensorView hidden_gradient;  ///< written
  TensorView weight_gradient;  ///< added to
  float* logits = nullptr;     ///< [m, V] of one chunk, then their gradients
  int64_t logits_stride = 0;
  int64_t block = 0;  ///< of the vocabulary

  float weight_of(int64_t token) const {
    return weights.empty() ? 1.0F : weights[static_cast<size_t>(token)];
  }
  int64_t target_of(int64_t token) const { return targets[static_cast<size_t>(token)]; }

  /// Calls visit(begin, end) for each block of the vocabulary.
  template <typename Visit>
  void for_each_block(const Visit& visit) const {
    for (int64_t begin = 0; begin < weight.rows; begin += block) {
      visit(begin, std::min(weight.rows, begin + block));
    }
  }
};

/// Tokens whose logits are held at once: their hidden states and where the gradients of those go,
/// both [m, C].
struct LossChunk {
  TrainedRow* rows = nullptr;
  int64_t m = 0;
  const float* x = nullptr;
  int64_t ldx = 0;
  float* dx = nullptr;  ///< null: not wanted
  int64_t lddx = 0;
};

void check_arguments(const ConstTensorView& hidden, const CpuWeight& weight,
                     std::span<const int32_t> targets, std::span<const float> weights,
                     const TensorView& nll, const TensorView& hidden_gradient,
                     const TensorView& weight_gradient) {
  const auto n_tokens = static_cast<int64_t>(targets.size());
  check_matrix(hidden, n_tokens, weight.columns, "cross_entropy: hidden");
  check_loss_weights(weights, targets.size());
  if (!nll.empty()) check_vector(nll, n_tokens, DType::f32, "cross_entropy: nll");
  if (!hidden_gradient.empty()) {
    check_matrix(hidden_gradient, n_tokens, weight.columns, "cross_entropy: hidden_gradient");
  }
  if (!weight_gradient.empty()) {
    check_matrix(weight_gradient, weight.rows, weight.columns, "cross_entropy: weight_gradient");
  }
  check_targets(targets, weight.rows, "cross_entropy");
}

/// Lists the tokens that have a target, one after another; the others only get their zeros.
int64_t list_trained_rows(const LossCall& call, TrainedRow* rows) {
  int64_t n_trained = 0;
  for (int64_t t = 0; t < static_cast<int64_t>(call.targets.size()); ++t) {
    if (call.target_of(t) >= 0) {
      rows[n_trained++] = TrainedRow{.token = t};
      continue;
    }
    if (!call.nll.empty()) floats(call.nll)[t] = 0.0F;
    if (!call.hidden_gradient.empty()) {
      std::fill_n(floats(call.hidden_gradient) + t * call.hidden_gradient.strides[0],
                  call.weight.columns, 0.0F);
    }
  }
  return n_trained;
}

/// Makes the chunk's logits, with the maximum and sum of each row.
void make_logits(const LossCall& call, const LossChunk& chunk) {
  call.for_each_block([&](int64_t begin, int64_t end) {
    multiply(call.shared, call.scratch, chunk.x, chunk.ldx, chunk.m, call.weight, begin, end,
             call.logits + begin, call.logits_stride);
    parallel_ranges(chunk.m, 1, chunk.m * (end - begin), [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        call.shared.kernels.fold_log_sum_exp(call.logits + i * call.logits_stride + begin,
                                             end - begin, &chunk.rows[i].maximum,
                                             &chunk.rows[i].sum);
      }
    });
  });
}

/// Adds the chunk's weighted losses to `loss`, token by token, and writes each token's own.
void add_losses(const LossCall& call, const LossChunk& chunk, double* loss) {
  for (int64_t i = 0; i < chunk.m; ++i) {
    const TrainedRow& row = chunk.rows[i];
    const float target_logit = call.logits[i * call.logits_stride + call.target_of(row.token)];
    const double lost =
        static_cast<double>(row.maximum) + std::log(row.sum) - static_cast<double>(target_logit);
    *loss += static_cast<double>(call.weight_of(row.token)) * lost;
    if (!call.nll.empty()) floats(call.nll)[row.token] = static_cast<float>(lost);
  }
}

/// Turns the logits [m, begin .. end) into the gradients of the loss with respect to them.
void differentiate_logits(const LossCall& call, const LossChunk& chunk, int64_t begin,
                          int64_t end) {
  parallel_ranges(chunk.m, 1, chunk.m * (end - begin), [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const TrainedRow& row = chunk.rows[i];
      const float weight = call.weight_of(row.token);
      const auto scale = static_cast<float>(static_cast<double>(weight) / row.sum);
      float* const logits = call.logits + i * call.logits_stride;
      call.shared.kernels.softmax_gradient(logits + begin, end - begin, row.maximum, scale);
      const int64_t target = call.target_of(row.token);
      if (target >= begin && target < end) logits[target] -= weight;
    }
  });
}

/// What the chunk's losses give to hidden states and weight; the logits are gone afterwards.
void propagate(const LossCall& call, const LossChunk& chunk) {
  const OneDnn& library = call.shared.library;
  const int64_t c = call.weight.columns;
  call.for_each_block([&](int64_t begin, int64_t end) {
    differentiate_logits(call, chunk, begin, end);
    const float* const gradients = call.logits + begin;
    if (chunk.dx != nullptr) {
      library.gemm(false, false, chunk.m, c, end - begin, 1.0F, gradients, call.logits_stride,
                   widened_rows(call.shared, call.scratch, call.weight, begin, end), c,
                   begin > 0 ? 1.0F : 0.0F, chunk.dx, chunk.lddx);
    }
    if (!call.weight_gradient.empty()) {
      const int64_t stride = call.weight_gradient.strides[0];
      library.gemm(true, false, end - begin, c, chunk.m, 1.0F, gradients, call.logits_stride,
                   chunk.x, chunk.ldx, 1.0F, floats(call.weight_gradient) + begin * stride, stride);
    }
  });
}

/// As many tokens as the logits of one chunk may be.
int64_t tokens_per_chunk(int64_t vocab_size, int64_t n_trained) {
  const int64_t fitting = kLogitsPerChunk / std::max<int64_t>(vocab_size, 1);
  const int64_t most =
      std::clamp(fitting / kFewestTokens * kFewestTokens, kFewestTokens, kMostTokens);
  return std::min(most, n_trained);
}

}  // namespace

double CpuStream::cross_entropy(ConstTensorView hidden, const PreparedWeight& weight,
                                std::span<const int32_t> targets, std::span<const float> weights,
                                TensorView nll, TensorView hidden_gradient,
                                TensorView weight_gradient) {
  const CpuWeight& w = cpu_weight(weight);
  check_arguments(hidden, w, targets, weights, nll, hidden_gradient, weight_gradient);
  const ThreadLimit limit(shared_->n_threads);
  LossCall call{*shared_,        scratch_,       w, targets, weights, hidden, nll,
                hidden_gradient, weight_gradient};
  auto* const rows = scratch_.get<TrainedRow>(ScratchUse::row_state, targets.size());
  const int64_t n_trained = list_trained_rows(call, rows);
  const int64_t chunk_tokens = tokens_per_chunk(w.rows, n_trained);
  call.block = vocabulary_block(w);
  call.logits_stride = spread_stride(w.rows);
  call.logits = scratch_.get<float>(ScratchUse::logits,
                                    static_cast<size_t>(chunk_tokens * call.logits_stride));

  // Where every token has a target, chunks are rows of the call's own matrices; else they are
  // gathered, and what they give is scattered.
  const bool is_dense = n_trained == static_cast<int64_t>(targets.size());
  const int64_t c = w.columns;
  auto* const gathered = scratch_.get<float>(
      ScratchUse::token_rows, static_cast<size_t>(is_dense ? 0 : 2 * chunk_tokens * c));
  auto* const gathered_gradient = gathered + (is_dense ? 0 : chunk_tokens * c);

  double loss = 0;
  for (int64_t first = 0; first < n_trained; first += chunk_tokens) {
    LossChunk chunk{.rows = rows + first, .m = std::min(chunk_tokens, n_trained - first)};
    const bool wants_dx = !hidden_gradient.empty();
    if (is_dense) {
      chunk.x = floats(hidden) + first * hidden.strides[0];
      chunk.ldx = hidden.strides[0];
      if (wants_dx) chunk.dx = floats(hidden_gradient) + first * hidden_gradient.strides[0];
      chunk.lddx = hidden_gradient.strides[0];
    } else {
      for (int64_t i = 0; i < chunk.m; ++i) {
        std::copy_n(floats(hidden) + chunk.rows[i].token * hidden.strides[0], c, gathered + i * c);
      }
      chunk.x = gathered;
      chunk.ldx = c;
      if (wants_dx) chunk.dx = gathered_gradient;
      chunk.lddx = c;
    }

    make_logits(call, chunk);
    add_losses(call, chunk, &loss);
    if (!wants_dx && weight_gradient.empty()) continue;
    propagate(call, chunk);
    if (chunk.dx == nullptr || is_dense) continue;
    for (int64_t i = 0; i < chunk.m; ++i) {
      std::copy_n(chunk.dx + i * c, c,
                  floats(hidden_gradient) + chunk.rows[i].token * hidden_gradient.strides[0]);
    }
  }
  return loss;
}

}  // namespace okapi::cpu
