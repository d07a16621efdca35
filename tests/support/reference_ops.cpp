#include "tests/support/reference_ops.h"

#include <algorithm>
#include <cmath>

namespace okapi::reference {

Values linear(const Values& x, const Values& w, int64_t m, int64_t n, int64_t k) {
  Values out(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t c = 0; c < k; ++c) sum += x[i * k + c] * w[j * k + c];
      out[i * n + j] = sum;
    }
  }
  return out;
}

Values rms_norm(const Values& x, const Values& weight, int64_t t, int64_t n, double epsilon) {
  Values out(x.size());
  for (int64_t row = 0; row < t; ++row) {
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += x[row * n + i] * x[row * n + i];
    const double rms = std::sqrt(squares / static_cast<double>(n) + epsilon);
    for (int64_t i = 0; i < n; ++i) out[row * n + i] = x[row * n + i] / rms * weight[i];
  }
  return out;
}

Values swiglu(const Values& gate_up, int64_t t, int64_t n) {
  Values out(static_cast<size_t>(t * n));
  for (int64_t row = 0; row < t; ++row) {
    for (int64_t i = 0; i < n; ++i) {
      const double gate = gate_up[row * 2 * n + i];
      const double up = gate_up[row * 2 * n + n + i];
      out[row * n + i] = gate / (1.0 + std::exp(-gate)) * up;
    }
  }
  return out;
}

void rotate(double* head, const double* cosines, const double* sines, int64_t d) {
  for (int64_t i = 0; i < d / 2; ++i) {
    const double x = head[i];
    const double y = head[i + d / 2];
    head[i] = x * cosines[i] - y * sines[i];
    head[i + d / 2] = y * cosines[i] + x * sines[i];
  }
}

Values attend(const double* query, const Values& keys, const Values& values, int64_t n, int64_t d,
              double scale) {
  Values scores(static_cast<size_t>(n));
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < d; ++i) scores[j] += query[i] * keys[j * d + i];
    scores[j] *= scale;
  }
  const double top = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - top);
  Values out(static_cast<size_t>(d));
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < d; ++i) out[i] += scores[j] / sum * values[j * d + i];
  }
  return out;
}

double log_loss(const double* logits, int64_t n, int64_t target) {
  const double top = *std::max_element(logits, logits + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(logits[i] - top);
  return top + std::log(sum) - logits[target];
}

int64_t argmax(const double* x, int64_t n) { return std::max_element(x, x + n) - x; }

}  // namespace okapi::reference
