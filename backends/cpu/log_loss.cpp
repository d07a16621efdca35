// Negative log-likelihood of given tokens, without ever holding a row of logits.
//
// The vocabulary is walked in blocks; each token keeps a running maximum and sum of exponentials
// (Milakov and Gimelshein 2018, arXiv:1805.02867) and picks up its target's logit as it passes by.
#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/checks.h"
#include "backends/cpu/product.h"
#include "backends/cpu/threads.h"

namespace okapi::cpu {

namespace {

constexpr int64_t kTokensPerChunk = 512;

struct RowState {
  float maximum = -std::numeric_limits<float>::infinity();
  float target_logit = 0;
  double sum = 0;
};

}  // namespace

void CpuStream::log_loss(ConstTensorView hidden, const PreparedWeight& weight,
                         std::span<const int32_t> targets, TensorView nll) {
  const CpuWeight& w = cpu_weight(weight);
  const auto n_tokens = static_cast<int64_t>(targets.size());
  check_matrix(hidden, n_tokens, w.columns, "log_loss: hidden");
  check_vector(nll, n_tokens, DType::f32, "log_loss: nll");
  check_targets(targets, w.rows, "log_loss");

  const ThreadLimit limit(shared_->n_threads);
  const int64_t chunk = std::min(n_tokens, kTokensPerChunk);
  const int64_t block = vocabulary_block(w);
  auto* const states = scratch_.get<RowState>(ScratchUse::row_state, static_cast<size_t>(n_tokens));
  auto* const logits = scratch_.get<float>(ScratchUse::logits, static_cast<size_t>(chunk * block));
  std::fill(states, states + n_tokens, RowState{});

  for (int64_t begin = 0; begin < w.rows; begin += block) {
    const int64_t end = std::min(w.rows, begin + block);
    const bool by_library = n_tokens >= library_rows(w.dtype);
    const float* const rows =
        by_library ? widened_rows(*shared_, scratch_, w, begin, end) : nullptr;
    for (int64_t first = 0; first < n_tokens; first += chunk) {
      const int64_t m = std::min(chunk, n_tokens - first);
      const float* const x = floats(hidden) + first * hidden.strides[0];
      if (by_library) {
        shared_->library.product(x, hidden.strides[0], m, rows, end - begin, w.columns, logits,
                                 block);
      } else {
        multiply(*shared_, scratch_, x, hidden.strides[0], m, w, begin, end, logits, block);
      }
      parallel_ranges(m, 1, m * (end - begin), [&](int64_t from, int64_t to) {
        for (int64_t t = from; t < to; ++t) {
          RowState& state = states[first + t];
          const float* const row = logits + t * block;
          shared_->kernels.fold_log_sum_exp(row, end - begin, &state.maximum, &state.sum);
          const int64_t target = targets[first + t];
          if (target >= begin && target < end) state.target_logit = row[target - begin];
        }
      });
    }
  }
  for (int64_t t = 0; t < n_tokens; ++t) {
    const RowState& state = states[t];
    floats(nll)[t] = targets[t] < 0 ? 0.0F
                                    : static_cast<float>(static_cast<double>(state.maximum) +
                                                         std::log(state.sum) -
                                                         static_cast<double>(state.target_logit));
  }
}

}  // namespace okapi::cpu
