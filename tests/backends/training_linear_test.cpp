#include "tests/backends/training_test.h"

namespace okapi {
namespace {

class TrainingLinearTest : public TrainingTest {
 protected:
  static Values transposed(const Values& x, int64_t rows, int64_t columns) {
    Values out(x.size());
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) out[j * rows + i] = x[i * columns + j];
    }
    return out;
  }

  static Values sum(Values a, const Values& b) {
    for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
    return a;
  }

  /// dX = dY W, with W as the backend keeps it.
  void expect_input_gradient(const PreparedWeight& weight, const Values& w, int64_t t) {
    const int64_t n = weight.rows;
    const int64_t k = weight.columns;
    const Values out_gradient = random(t * n);
    const Values before = random(t * k);
    const Values wanted = reference::linear(out_gradient, transposed(w, n, k), t, k, n);
    const Tensor d_out = put(out_gradient, {t, n});
    Tensor written = put(Values(before.size(), NAN), {t, k});
    training_->linear_backward_input(d_out.view(), weight, written.view(), false);
    EXPECT_LE(error_per_element(get(written.view()), wanted), allowed(n))
        << t << " " << n << " " << k;
    Tensor added = put(before, {t, k});
    training_->linear_backward_input(d_out.view(), weight, added.view(), true);
    EXPECT_LE(error_per_element(get(added.view()), sum(wanted, before)), allowed(n));
  }

  void expect_weight_gradient(int64_t t, int64_t n, int64_t k) {
    const Values out_gradient = random(t * n);
    const Values x = random(t * k);
    const Values before = random_(n * k);
    const Tensor d_out = put(out_gradient, {t, n});
    const Tensor input = put(x, {t, k});
    Tensor gradient = put_f32(before, {n, k});
    training_->linear_backward_weight(d_out.view(), input.view(), gradient.view());
    const Values wanted =
        reference::linear(transposed(out_gradient, t, n), transposed(x, t, k), n, k, t);
    EXPECT_LE(error_per_element(get(gradient.view()), sum(wanted, before)), allowed(t))
        << t << " " << n << " " << k;
  }
};

TEST_P(TrainingLinearTest, GradientsEqualFiniteDifferences) {
  const int64_t t = 3;
  const int64_t n = 5;
  const int64_t k = 7;
  const Values x = random(t * k);
  const Values w = random_(n * k);
  const Values g = random(t * n);
  const Tensor input = put(x, {t, k});
  const Tensor d_out = put(g, {t, n});
  const Trained trained = train(w, n, k);
  Tensor d_x(backend_, activations_, {t, k});
  Tensor d_w = put_f32(Values(w.size(), 0.0), {n, k});
  training_->linear_backward_input(d_out.view(), *trained.weight, d_x.view(), false);
  training_->linear_backward_weight(d_out.view(), input.view(), d_w.view());
  EXPECT_LE(relative_error(get(d_x.view()),
                           numeric_gradient(x,
                                            [&](const Values& moved) {
                                              return dot(reference::linear(moved, w, t, n, k), g);
                                            })),
            tolerance_);
  EXPECT_LE(relative_error(get(d_w.view()),
                           numeric_gradient(w,
                                            [&](const Values& moved) {
                                              return dot(reference::linear(x, moved, t, n, k), g);
                                            })),
            tolerance_);
}

TEST_P(TrainingLinearTest, GradientsEqualThePlainProducts) {
  for (const int64_t t : {1, 2, 17, 65}) {
    for (const int64_t n : {1, 3, 64, 100}) {
      for (const int64_t k : {1, 34, 64, 130}) {
        const Values w = random_(n * k);
        expect_input_gradient(*train(w, n, k).weight, w, t);
        expect_weight_gradient(t, n, k);
      }
    }
  }
}

// Frozen weights under LoRA: kept as bf16, and more of them than one widened block.
TEST_P(TrainingLinearTest, InputsGradientGoesThroughFrozenWeights) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Values small = random_(34 * 100, 1.0, dtype);
    expect_input_gradient(*prepare(small, 34, 100, dtype, dtype), small, 5);
    const Values large = random_(4500 * 256, 1.0, dtype);
    expect_input_gradient(*prepare(large, 4500, 256, dtype, dtype), large, 33);
  }
}

TEST_P(TrainingLinearTest, RefusesWhatDoesNotFit) {
  const Trained trained = train(random_(12), 3, 4);
  const Tensor d_out = put(random(6), {2, 3});
  const Tensor x = put(random(8), {2, 4});
  Tensor narrow(backend_, activations_, {2, 3});
  Tensor d_w(backend_, DType::f32, {4, 3});
  EXPECT_THROW(
      training_->linear_backward_input(d_out.view(), *trained.weight, narrow.view(), false),
      BackendError);
  EXPECT_THROW(training_->linear_backward_input(x.view(), *trained.weight, narrow.view(), false),
               BackendError);
  EXPECT_THROW(training_->linear_backward_weight(d_out.view(), x.view(), d_w.view()), BackendError);
}

// Every pair of transpositions, alpha and beta; a beta of 0 does not read what was there.
TEST_P(TrainingLinearTest, MatmulEqualsThePlainProduct) {
  const struct {
    int64_t m, n, k;
  } shapes[] = {{1, 1, 1}, {5, 8, 3}, {33, 16, 70}, {70, 100, 4}, {64, 3, 128}};
  for (const auto& [m, n, k] : shapes) {
    for (int flags = 0; flags < 4; ++flags) {
      const bool transpose_a = flags % 2 != 0;
      const bool transpose_b = flags / 2 != 0;
      const Values a = random(m * k);
      const Values b = random(k * n);
      const Values before = random(m * n);
      const Tensor a_tensor = transpose_a ? put(transposed(a, m, k), {k, m}) : put(a, {m, k});
      const Tensor b_tensor = transpose_b ? put(transposed(b, k, n), {n, k}) : put(b, {k, n});
      const Values product = reference::linear(a, transposed(b, k, n), m, n, k);
      for (const double beta : {0.0, 1.0, 0.5}) {
        Tensor out = put(beta == 0 ? Values(before.size(), NAN) : before, {m, n});
        training_->matmul(a_tensor.view(), transpose_a, b_tensor.view(), transpose_b, 0.25F,
                          static_cast<float>(beta), out.view());
        Values wanted = product;
        for (size_t i = 0; i < wanted.size(); ++i)
          wanted[i] = 0.25 * wanted[i] + (beta == 0 ? 0 : beta * before[i]);
        EXPECT_LE(error_per_element(get(out.view()), wanted), allowed(k))
            << m << " x " << n << " x " << k << ", " << flags << ", beta " << beta;
      }
    }
  }
}

// A projection inside a fused matrix: rows of operands and result lie apart.
TEST_P(TrainingLinearTest, MatmulLeavesWhatLiesBetweenTheRowsAlone) {
  const int64_t m = 9;
  const int64_t n = 20;
  const int64_t k = 6;
  const auto left = [](TensorView view) {
    view.shape[1] /= 2;
    return view;
  };
  const Values a = random(m * 2 * k);
  const Values b = random(k * 2 * n);
  Tensor a_tensor = put(a, {m, 2 * k});
  Tensor b_tensor = put(b, {k, 2 * n});
  Tensor out = put(Values(static_cast<size_t>(m * 2 * n), 7.0), {m, 2 * n});
  training_->matmul(left(a_tensor.view()), false, left(b_tensor.view()), false, 1.0F, 1.0F,
                    left(out.view()));
  const Values got = get(out.view());
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < 2 * n; ++j) {
      double wanted = 7.0;
      for (int64_t c = 0; c < k && j < n; ++c) wanted += a[i * 2 * k + c] * b[c * 2 * n + j];
      EXPECT_NEAR(got[i * 2 * n + j], wanted, 4 * allowed(k));
    }
  }
  EXPECT_THROW(training_->matmul(a_tensor.view(), false, b_tensor.view(), true, 1, 0, out.view()),
               BackendError);
}

// The values of a trainable weight are its master's at the last refresh.
TEST_P(TrainingLinearTest, TrainableWeightFollowsItsMaster) {
  const int64_t n = 40;
  const int64_t k = 24;
  Trained trained = train(random_(n * k), n, k);
  EXPECT_EQ(trained.weight->rows, n);
  EXPECT_EQ(trained.weight->columns, k);
  for (const int64_t m : {1, 5, 600}) {
    const Values w = random_(n * k);
    const std::vector<std::byte> bytes = encode(w, DType::f32);
    training_->upload(trained.master.view().data, bytes.data(), bytes.size());
    training_->refresh(*trained.weight);
    const Values x = random(m * k);
    const Tensor input = put(x, {m, k});
    Tensor out(backend_, activations_, {m, n});
    training_->linear(input.view(), *trained.weight, out.view());
    EXPECT_LE(error_per_element(get(out.view()), reference::linear(x, w, m, n, k)), allowed(k));
    Tensor rows(backend_, activations_, {2, k});
    training_->embed(*trained.weight, std::vector<int32_t>{39, 0}, rows.view());
    Values wanted(w.end() - k, w.end());
    wanted.insert(wanted.end(), w.begin(), w.begin() + k);
    for (double& value : wanted) value = rounded(value, activations_);
    EXPECT_EQ(get(rows.view()), wanted);
  }
  const auto frozen = prepare(random_(4), 2, 2, DType::f32, DType::f32);
  EXPECT_THROW(training_->refresh(*frozen), BackendError);
  TensorView apart = trained.master.view();
  apart.shape[1] = k - 1;
  EXPECT_THROW(backend_->training()->trainable_weight(apart, activations_), BackendError);
  EXPECT_THROW(backend_->training()->trainable_weight(trained.master.view(), DType::f16),
               BackendError);
}

OKAPI_FOR_EACH_BACKEND(TrainingLinearTest);

}  // namespace
}  // namespace okapi
