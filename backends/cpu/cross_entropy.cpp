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
constexpr int64_t kMostTrainedVocabularyPerBlock = 4096;

struct TrainedRow {
  int64_t token = 0;  ///< of the call
  float maximum = -std::numeric_limits<float>::infinity();
  float target_logit = 0;
  double sum = 0;
};

void check_arguments(const ConstTensorView& hidden, const CpuWeight& weight,
                     std::span<const int32_t> targets, std::span<const float> weights,
                     const TensorView& nll, const TensorView& hidden_gradient,
                     const TensorView& weight_gradient) {
  const auto n_tokens = static_cast<int64_t>(targets.size());
  check_matrix(hidden, n_tokens, weight.columns, "cross_entropy: hidden");
  check_loss_weights(weights, targets.size());
  if (!nll.empty()) check_vector(nll, n_tokens, DType::f32, "cross_entropy: nll");
  if (!hidden_gradient.empty())
    check_matrix(hidden_gradient, n_tokens, weight.columns, "cross_entropy: hidden_gradient");
  if (!weight_gradient.empty())
    check_matrix(weight_gradient, weight.rows, weight.columns, "cross_entropy: weight_gradient");
  check_targets(targets, weight.rows, "cross_entropy");
}

}  // namespace

double CpuStream::cross_entropy(ConstTensorView hidden, const PreparedWeight& weight,
                                std::span<const int32_t> targets, std::span<const float> weights,
                                TensorView nll, TensorView hidden_gradient,
                                TensorView weight_gradient) {
  const CpuWeight& w = cpu_weight(weight);
  check_arguments(hidden, w, targets, weights, nll, hidden_gradient, weight_gradient);
  const ThreadLimit limit(shared_->n_threads);
  const auto n_tokens = static_cast<int64_t>(targets.size());
  const int64_t c = w.columns;
  const int64_t v = w.rows;
  const int64_t ldl = spread_stride(v);  // of the logits
  const auto weight_of = [&](int64_t t) {
    return weights.empty() ? 1.0F : weights[static_cast<size_t>(t)];
  };

  // The tokens that have a target, one after another; the others only get their zeros.
  auto* const states = scratch_.get<TrainedRow>(ScratchUse::row_state, targets.size());
  int64_t n_trained = 0;
  for (int64_t t = 0; t < n_tokens; ++t) {
    if (targets[static_cast<size_t>(t)] >= 0) {
      states[n_trained++] = TrainedRow{.token = t};
      continue;
    }
    if (!nll.empty()) floats(nll)[t] = 0.0F;
    if (!hidden_gradient.empty())
      std::fill_n(floats(hidden_gradient) + t * hidden_gradient.strides[0], c, 0.0F);
  }
  const bool is_dense = n_trained == n_tokens;

  const int64_t most =
      std::clamp(kLogitsPerChunk / std::max<int64_t>(v, 1) / kFewestTokens * kFewestTokens,
                 kFewestTokens, kMostTokens);
  const int64_t chunk_tokens = std::min(most, n_trained);
  const int64_t block = std::min({v, rows_per_block(w), kMostTrainedVocabularyPerBlock});
  auto* const logits =
      scratch_.get<float>(ScratchUse::logits, static_cast<size_t>(chunk_tokens * ldl));
  auto* const gathered = scratch_.get<float>(
      ScratchUse::token_rows, static_cast<size_t>(is_dense ? 0 : 2 * chunk_tokens * c));

  double loss = 0;
  for (int64_t first = 0; first < n_trained; first += chunk_tokens) {
    const int64_t m = std::min(chunk_tokens, n_trained - first);
    TrainedRow* const rows = states + first;
    const float* x = floats(hidden) + first * hidden.strides[0];
    int64_t ldx = hidden.strides[0];
    if (!is_dense) {
      for (int64_t i = 0; i < m; ++i)
        std::copy_n(floats(hidden) + rows[i].token * hidden.strides[0], c, gathered + i * c);
      x = gathered;
      ldx = c;
    }

    for (int64_t begin = 0; begin < v; begin += block) {
      const int64_t end = std::min(v, begin + block);
      multiply(*shared_, scratch_, x, ldx, m, w, begin, end, logits + begin, ldl);
      parallel_ranges(m, 1, m * (end - begin), [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
          shared_->kernels.fold_log_sum_exp(logits + i * ldl + begin, end - begin, &rows[i].maximum,
                                            &rows[i].sum);
        }
      });
    }
    for (int64_t i = 0; i < m; ++i) {
      const int64_t t = rows[i].token;
      const double lost = static_cast<double>(rows[i].maximum) + std::log(rows[i].sum) -
                          static_cast<double>(logits[i * ldl + targets[static_cast<size_t>(t)]]);
      loss += static_cast<double>(weight_of(t)) * lost;
      if (!nll.empty()) floats(nll)[t] = static_cast<float>(lost);
    }
    if (hidden_gradient.empty() && weight_gradient.empty()) continue;

    float* dx = nullptr;
    int64_t lddx = c;
    if (!hidden_gradient.empty()) {
      dx = is_dense ? floats(hidden_gradient) + first * hidden_gradient.strides[0]
                    : gathered + chunk_tokens * c;
      lddx = is_dense ? hidden_gradient.strides[0] : c;
    }
    for (int64_t begin = 0; begin < v; begin += block) {
      const int64_t end = std::min(v, begin + block);
      parallel_ranges(m, 1, m * (end - begin), [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
          const int64_t t = rows[i].token;
          const float scale = static_cast<float>(static_cast<double>(weight_of(t)) / rows[i].sum);
          float* const row = logits + i * ldl;
          shared_->kernels.softmax_gradient(row + begin, end - begin, rows[i].maximum, scale);
          const int64_t target = targets[static_cast<size_t>(t)];
          if (target >= begin && target < end) row[target] -= weight_of(t);
        }
      });
      if (dx != nullptr) {
        shared_->library.gemm(false, false, m, c, end - begin, 1.0F, logits + begin, ldl,
                              widened_rows(*shared_, scratch_, w, begin, end), c,
                              begin > 0 ? 1.0F : 0.0F, dx, lddx);
      }
      if (!weight_gradient.empty()) {
        shared_->library.gemm(true, false, end - begin, c, m, 1.0F, logits + begin, ldl, x, ldx,
                              1.0F, floats(weight_gradient) + begin * weight_gradient.strides[0],
                              weight_gradient.strides[0]);
      }
    }
    if (dx != nullptr && !is_dense) {
      for (int64_t i = 0; i < m; ++i) {
        std::copy_n(dx + i * c, c,
                    floats(hidden_gradient) + rows[i].token * hidden_gradient.strides[0]);
      }
    }
  }
  return loss;
}

}  // namespace okapi::cpu
