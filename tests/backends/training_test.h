// What the tests of training's operations share: gradients by finite differences in double, and
// attention's as plain loops.
#pragma once

#include <functional>
#include <vector>

#include "backends/training.h"
#include "tests/backends/backend_test.h"

namespace okapi {

/// Skips where the backend does not train.
class TrainingTest : public BackendTest {
 protected:
  void SetUp() override;

  /// A trainable weight on a master of these values, refreshed.
  struct Trained {
    Tensor master;
    std::unique_ptr<PreparedWeight> weight;
  };
  Trained train(const Values& values, int64_t rows, int64_t columns);

  /// 32 ulp of sums over k elements of size 1.
  double allowed(int64_t k) const { return tolerance_ * std::sqrt(static_cast<double>(k)); }

  TrainingStream* training_ = nullptr;  ///< stream_: what puts and gets goes in its order
};

/// Some elements of a gradient: by central differences of a function of x. Its error is some 1e-9
/// for functions of size 1.
Values numeric_gradient(const Values& x, const std::function<double(const Values&)>& function);

/// Sum of products: the function of an output whose gradient is `weights`.
double dot(const Values& a, const Values& weights);

namespace reference {

/// Causal attention of sequences that follow one another, on rows of q, k, v.
struct Attention {
  int64_t n_heads, n_kv_heads, head_dim;
  std::vector<int64_t> lengths;
  std::vector<double> scales;  ///< of the scores, one per sequence

  int64_t n_rows() const;
  int64_t row_width() const { return (n_heads + 2 * n_kv_heads) * head_dim; }

  Values forward(const Values& qkv) const;   ///< [T, H D]
  Values log_sums(const Values& qkv) const;  ///< [T, H]
  /// Of qkv, by the softmax's derivative: ds = p (dp - p . dp).
  Values backward(const Values& qkv, const Values& out_gradient) const;

 private:
  template <typename Visit>
  void for_each_query(const Values& qkv, const Visit& visit) const;
};

}  // namespace reference
}  // namespace okapi
