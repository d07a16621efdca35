// Operations on whole tensors: zeros, sums, norms, dropout, the optimizer.
#include <cmath>

#include "tests/backends/training_test.h"

namespace okapi {
namespace {

class TrainingVectorTest : public TrainingTest {
 protected:
  Values dropped(const Values& x, int64_t columns, uint64_t seed, float probability) {
    const int64_t rows = static_cast<int64_t>(x.size()) / columns;
    const Tensor input = put(x, {rows, columns});
    Tensor out(backend_, activations_, {rows, columns});
    training_->dropout(input.view(), seed, probability, out.view());
    return get(out.view());
  }
};

TEST_P(TrainingVectorTest, ZeroesAndAdds) {
  for (const int64_t n : {1, 3, 100, 100003}) {
    const Values a = random(n);
    const Values b = random(n);
    Tensor to = put(a, {n});
    const Tensor from = put(b, {n});
    training_->add(to.view(), from.view());
    Values wanted;
    for (int64_t i = 0; i < n; ++i) wanted.push_back(rounded(a[i] + b[i], activations_));
    EXPECT_EQ(get(to.view()), wanted);
    training_->zero(to.view().data, to.bytes());
    EXPECT_EQ(get(to.view()), Values(static_cast<size_t>(n), 0.0));
  }
  Tensor three = put(random(3), {3});
  const Tensor four = put(random(4), {4});
  EXPECT_THROW(training_->add(three.view(), four.view()), BackendError);
}

TEST_P(TrainingVectorTest, SumsSquaresInDouble) {
  for (const int64_t n : {1, 7, 1000, 300007}) {
    const Values x = random_(n);
    const Tensor input = put_f32(x, {n});
    const double wanted = dot(x, x);
    EXPECT_NEAR(training_->squared_norm(input.view()), wanted, 1e-6 * wanted);
  }
}

// All of a model's gradients at once, wherever they begin: as one after the other.
TEST_P(TrainingVectorTest, SumsSquaresOfManyTensors) {
  const Values x = random_(100000);
  const Tensor input = put_f32(x, {100000});
  const auto* const data = static_cast<const float*>(input.view().data);
  std::vector<ConstTensorView> parts;
  int64_t begin = 0;
  for (const int64_t n : {1, 3, 40000, 20, 50000, 9976}) {
    parts.emplace_back(data + begin, DType::f32, std::initializer_list<int64_t>{n});
    begin += n;
  }
  const double wanted = dot(x, x);
  const double found = training_->squared_norm(parts);
  EXPECT_NEAR(found, wanted, 1e-6 * wanted);
  EXPECT_EQ(training_->squared_norm(parts), found);
  EXPECT_EQ(training_->squared_norm(std::span<const ConstTensorView>()), 0.0);
}

// Tensors of several sizes, learning rates and places in memory in one call, beside each alone.
TEST_P(TrainingVectorTest, AdamWChangesManyTensorsAsEachAlone) {
  const int64_t sizes[] = {5, 33000, 1, 20001};
  const int64_t n = 53007;
  const Values values = random_(n);
  const Values slopes = random_(n);
  Tensor together = put_f32(values, {n});
  Tensor alone = put_f32(values, {n});
  const Tensor gradient = put_f32(slopes, {n});
  Tensor moments[] = {
      put_f32(Values(static_cast<size_t>(n)), {n}), put_f32(Values(static_cast<size_t>(n)), {n}),
      put_f32(Values(static_cast<size_t>(n)), {n}), put_f32(Values(static_cast<size_t>(n)), {n})};
  const auto part = [](Tensor& tensor, int64_t first, int64_t count) {
    return TensorView(static_cast<float*>(tensor.view().data) + first, DType::f32, {count});
  };
  std::vector<AdamWUpdate> updates;
  int64_t first = 0;
  for (const int64_t count : sizes) {
    AdamWStep step;
    step.learning_rate = 0.01F * static_cast<float>(1 + updates.size());
    const ConstTensorView slope(static_cast<const float*>(gradient.view().data) + first, DType::f32,
                                {count});
    updates.push_back({part(together, first, count), slope, part(moments[0], first, count),
                       part(moments[1], first, count), step});
    training_->adamw(part(alone, first, count), slope, part(moments[2], first, count),
                     part(moments[3], first, count), step);
    first += count;
  }
  training_->adamw(updates);
  EXPECT_EQ(get(together.view()), get(alone.view()));
  EXPECT_EQ(get(moments[0].view()), get(moments[2].view()));
  EXPECT_EQ(get(moments[1].view()), get(moments[3].view()));
  EXPECT_NE(get(together.view()), values);
}

// The paper's algorithm 2 in double, for several steps.
TEST_P(TrainingVectorTest, AdamWEqualsThePlainLoop) {
  for (const int64_t n : {1, 13, 40003}) {
    Values p = random_(n);
    Values m(static_cast<size_t>(n));
    Values v(static_cast<size_t>(n));
    Tensor parameter = put_f32(p, {n});
    Tensor first = put_f32(m, {n});
    Tensor second = put_f32(v, {n});
    for (int64_t step = 1; step <= 4; ++step) {
      AdamWStep s;
      s.learning_rate = 0.01F;
      s.beta2 = 0.95F;
      s.weight_decay = 0.125F;
      s.gradient_scale = 0.5F;
      s.step = step;
      const Values g = random_(n);
      const Tensor gradient = put_f32(g, {n});
      training_->adamw(parameter.view(), gradient.view(), first.view(), second.view(), s);
      const double beta1 = s.beta1;
      const double beta2 = s.beta2;
      const double rate = s.learning_rate;
      for (int64_t i = 0; i < n; ++i) {
        const double scaled = g[i] * s.gradient_scale;
        m[i] = beta1 * m[i] + (1 - beta1) * scaled;
        v[i] = beta2 * v[i] + (1 - beta2) * scaled * scaled;
        const double m_hat = m[i] / (1 - std::pow(beta1, step));
        const double v_hat = v[i] / (1 - std::pow(beta2, step));
        p[i] -= rate * (m_hat / (std::sqrt(v_hat) + s.epsilon) + s.weight_decay * p[i]);
      }
    }
    EXPECT_LE(error_per_element(get(parameter.view()), p), 1e-6);
    EXPECT_LE(error_per_element(get(first.view()), m), 1e-6);
    EXPECT_LE(error_per_element(get(second.view()), v), 1e-6);
  }
}

TEST_P(TrainingVectorTest, AdamWRefusesStepZeroAndUnequalSizes) {
  Tensor a = put_f32(random_(4), {4});
  Tensor b = put_f32(random_(3), {3});
  AdamWStep step;
  step.step = 0;
  EXPECT_THROW(training_->adamw(a.view(), a.view(), a.view(), a.view(), step), BackendError);
  step.step = 1;
  EXPECT_THROW(training_->adamw(a.view(), b.view(), a.view(), a.view(), step), BackendError);
  step.beta1 = 1.0F;
  EXPECT_THROW(training_->adamw(a.view(), a.view(), a.view(), a.view(), step), BackendError);
}

// Zeros with the probability asked for, and the rest scaled so that the mean stays.
TEST_P(TrainingVectorTest, DropsTheShareAskedFor) {
  const int64_t n = 200 * 501;
  const Values ones(static_cast<size_t>(n), 1.0);
  for (const float probability : {0.0F, 0.05F, 0.5F}) {
    const Values out = dropped(ones, 501, 42, probability);
    const double kept = 1.0 / (1.0 - static_cast<double>(probability));
    int64_t n_dropped = 0;
    for (double x : out) {
      if (x == 0) {
        ++n_dropped;
      } else {
        EXPECT_NEAR(x, kept, tolerance_);
      }
    }
    // Five standard deviations of a binomial.
    const double p = probability;
    EXPECT_NEAR(static_cast<double>(n_dropped), p * static_cast<double>(n),
                5 * std::sqrt(p * (1 - p) * static_cast<double>(n)));
  }
}

// Of (seed, index) alone: neither of the values, nor of the shape, nor of where the rows lie.
TEST_P(TrainingVectorTest, DropoutIsAFunctionOfSeedAndIndex) {
  const int64_t n = 60 * 100;
  const Values ones(static_cast<size_t>(n), 1.0);
  const Values mask = dropped(ones, 100, 7, 0.5F);
  EXPECT_EQ(dropped(ones, 75, 7, 0.5F), mask);
  EXPECT_NE(dropped(ones, 100, 8, 0.5F), mask);
  const Values x = random(n);
  Values wanted;
  for (size_t i = 0; i < x.size(); ++i) wanted.push_back(x[i] * mask[i]);
  EXPECT_EQ(dropped(x, 100, 7, 0.5F), wanted);

  Tensor in_place = put(x, {60, 100});
  training_->dropout(in_place.view(), 7, 0.5F, in_place.view());
  EXPECT_EQ(get(in_place.view()), wanted);
  Tensor wide = put(Values(static_cast<size_t>(2 * n), 3.0), {60, 200});
  TensorView left = wide.view();
  left.shape[1] = 100;
  const Tensor input = put(x, {60, 100});
  training_->dropout(input.view(), 7, 0.5F, left);
  const Values got = get(wide.view());
  for (int64_t i = 0; i < 60; ++i) {
    for (int64_t j = 0; j < 200; ++j)
      EXPECT_EQ(got[i * 200 + j], j < 100 ? wanted[i * 100 + j] : 3.0);
  }
}

// Neighbouring elements, and the same element under neighbouring seeds, are dropped independently:
// both together a quarter of the time.
TEST_P(TrainingVectorTest, DropoutIsIndependentBetweenIndicesAndSeeds) {
  const int64_t n = 40000;
  const Values ones(static_cast<size_t>(n), 1.0);
  const Values first = dropped(ones, 100, 1, 0.5F);
  const Values second = dropped(ones, 100, 2, 0.5F);
  const double allowed = 5 * std::sqrt(0.25 * 0.75 * static_cast<double>(n));
  const auto both = [&](const Values& a, size_t shift, const Values& b) {
    double count = 0;
    for (size_t i = 0; i < a.size(); ++i) count += a[i] == 0 && b[(i + shift) % b.size()] == 0;
    return count;
  };
  for (const size_t shift : {1, 2, 8, 16, 100, 1024})
    EXPECT_NEAR(both(first, shift, first), 0.25 * n, allowed) << shift;
  EXPECT_NEAR(both(first, 0, second), 0.25 * n, allowed);
}

TEST_P(TrainingVectorTest, DropoutRefusesProbabilitiesOutsideItsRange) {
  Tensor x = put(random(4), {2, 2});
  for (const float probability : {-0.1F, 1.0F, 2.0F, NAN})
    EXPECT_THROW(training_->dropout(x.view(), 1, probability, x.view()), BackendError);
}

OKAPI_FOR_EACH_BACKEND(TrainingVectorTest);

}  // namespace
}  // namespace okapi
