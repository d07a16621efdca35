#include "tests/backends/training_test.h"

namespace okapi {

void TrainingTest::SetUp() {
  BackendTest::SetUp();
  if (IsSkipped() || HasFatalFailure()) return;
  if (backend_->training() == nullptr) GTEST_SKIP() << GetParam() << " does not train";
  auto stream = backend_->training()->create_training_stream();
  training_ = stream.get();
  stream_ = std::move(stream);
}

TrainingTest::Trained TrainingTest::train(const Values& values, int64_t rows, int64_t columns) {
  Trained trained{put_f32(values, {rows, columns}), nullptr};
  trained.weight = backend_->training()->trainable_weight(trained.master.view(), activations_);
  training_->refresh(*trained.weight);
  return trained;
}

Values numeric_gradient(const Values& x, const std::function<double(const Values&)>& function) {
  constexpr double kStep = 1e-5;
  Values gradient;
  Values moved = x;
  for (size_t i = 0; i < x.size(); ++i) {
    moved[i] = x[i] + kStep;
    const double above = function(moved);
    moved[i] = x[i] - kStep;
    gradient.push_back((above - function(moved)) / (2 * kStep));
    moved[i] = x[i];
  }
  return gradient;
}

double dot(const Values& a, const Values& weights) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * weights[i];
  return sum;
}

namespace reference {

int64_t Attention::n_rows() const {
  int64_t n = 0;
  for (int64_t length : lengths) n += length;
  return n;
}

/// visit(row, head, first_row, q, first k, first v, scale, weights): offsets into qkv, and the
/// weights of the keys first_row .. row, whose offsets are row_width() apart; log of their sum.
template <typename Visit>
void Attention::for_each_query(const Values& qkv, const Visit& visit) const {
  const int64_t group = n_heads / n_kv_heads;
  int64_t first = 0;
  for (size_t s = 0; s < lengths.size(); ++s) {
    for (int64_t row = first; row < first + lengths[s]; ++row) {
      for (int64_t head = 0; head < n_heads; ++head) {
        const int64_t q = row * row_width() + head * head_dim;
        const int64_t k = first * row_width() + (n_heads + head / group) * head_dim;
        const int64_t v = k + n_kv_heads * head_dim;
        Values weights;
        for (int64_t key = 0; key <= row - first; ++key) {
          double score = 0;
          for (int64_t i = 0; i < head_dim; ++i)
            score += qkv[q + i] * qkv[k + key * row_width() + i];
          weights.push_back(score * scales[s]);
        }
        const double top = *std::max_element(weights.begin(), weights.end());
        double sum = 0;
        for (double& weight : weights) sum += weight = std::exp(weight - top);
        for (double& weight : weights) weight /= sum;
        visit(row, head, q, k, v, scales[s], weights, top + std::log(sum));
      }
    }
    first += lengths[s];
  }
}

Values Attention::forward(const Values& qkv) const {
  Values out(static_cast<size_t>(n_rows() * n_heads * head_dim));
  for_each_query(qkv, [&](int64_t row, int64_t head, int64_t, int64_t, int64_t v, double,
                          const Values& weights, double) {
    for (size_t key = 0; key < weights.size(); ++key) {
      for (int64_t i = 0; i < head_dim; ++i) {
        out[(row * n_heads + head) * head_dim + i] +=
            weights[key] * qkv[v + static_cast<int64_t>(key) * row_width() + i];
      }
    }
  });
  return out;
}

Values Attention::log_sums(const Values& qkv) const {
  Values out(static_cast<size_t>(n_rows() * n_heads));
  for_each_query(qkv, [&](int64_t row, int64_t head, int64_t, int64_t, int64_t, double,
                          const Values&, double log_sum) { out[row * n_heads + head] = log_sum; });
  return out;
}

Values Attention::backward(const Values& qkv, const Values& out_gradient) const {
  Values gradient(qkv.size());
  for_each_query(qkv, [&](int64_t row, int64_t head, int64_t q, int64_t k, int64_t v, double scale,
                          const Values& weights, double) {
    const double* const d_out = &out_gradient[(row * n_heads + head) * head_dim];
    Values d_weights(weights.size());
    for (size_t key = 0; key < weights.size(); ++key) {
      const int64_t at = static_cast<int64_t>(key) * row_width();
      for (int64_t i = 0; i < head_dim; ++i) {
        d_weights[key] += d_out[i] * qkv[v + at + i];
        gradient[v + at + i] += weights[key] * d_out[i];
      }
    }
    const double mean = dot(weights, d_weights);
    for (size_t key = 0; key < weights.size(); ++key) {
      const int64_t at = static_cast<int64_t>(key) * row_width();
      const double d_score = weights[key] * (d_weights[key] - mean) * scale;
      for (int64_t i = 0; i < head_dim; ++i) {
        gradient[q + i] += d_score * qkv[k + at + i];
        gradient[k + at + i] += d_score * qkv[q + i];
      }
    }
  });
  return gradient;
}

}  // namespace reference
}  // namespace okapi
