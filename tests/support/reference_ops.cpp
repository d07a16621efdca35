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

int64_t sample(const Values& logits, double temperature, int64_t top_k, double top_p, double draw,
               const std::vector<int32_t>& forbidden) {
  std::vector<int64_t> ids;  // the likeliest first
  for (int64_t id = 0; id < static_cast<int64_t>(logits.size()); ++id) {
    const bool is_forbidden = std::count(forbidden.begin(), forbidden.end(), id) > 0;
    if (std::isfinite(logits[id]) && !is_forbidden) ids.push_back(id);
  }
  if (ids.empty()) return -1;
  std::stable_sort(ids.begin(), ids.end(),
                   [&](int64_t a, int64_t b) { return logits[a] > logits[b]; });
  if (temperature == 0) return ids.front();
  if (top_k > 0 && top_k < static_cast<int64_t>(ids.size())) ids.resize(top_k);

  const double top = logits[ids.front()];
  const auto weight = [&](int64_t id) { return std::exp((logits[id] - top) / temperature); };
  double total = 0;
  for (const int64_t id : ids) total += weight(id);
  if (top_p < 1) {
    const double wanted = top_p * total;
    size_t n_kept = 0;
    for (total = 0; n_kept < ids.size() && total < wanted; ++n_kept) total += weight(ids[n_kept]);
    ids.resize(n_kept);
  }
  std::sort(ids.begin(), ids.end());
  double passed = 0;
  for (const int64_t id : ids) {
    passed += weight(id);
    if (passed > draw * total) return id;
  }
  return ids.back();
}

}  // namespace okapi::reference
