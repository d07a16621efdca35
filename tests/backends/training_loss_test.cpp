#include "tests/backends/training_test.h"

namespace okapi {
namespace {

class TrainingLossTest : public TrainingTest {
 protected:
  struct Batch {
    int64_t t, v, c;
    Values hidden, w;
    std::vector<int32_t> targets;
    std::vector<float> weights;
  };

  Batch batch(int64_t t, int64_t v, int64_t c, double scale = 0.3, DType dtype = DType::f32) {
    Batch made{t, v, c, random(t * c, scale), random_(v * c, 1.0, dtype), {}, {}};
    for (int64_t i = 0; i < t; ++i) {
      made.targets.push_back(static_cast<int32_t>(random_.below(v)));
      made.weights.push_back(static_cast<float>(0.25 * static_cast<double>(random_.below(9))));
    }
    made.targets.front() = 0;
    made.targets.back() = static_cast<int32_t>(v - 1);
    return made;
  }

  struct Losses {
    double total = 0;
    Values nll, hidden_gradient, weight_gradient;
  };

  /// Softmax less the target, times the weight: in double.
  static Losses wanted(const Batch& b) {
    Losses losses;
    losses.hidden_gradient.resize(b.hidden.size());
    losses.weight_gradient.resize(b.w.size());
    const Values logits = reference::linear(b.hidden, b.w, b.t, b.v, b.c);
    for (int64_t t = 0; t < b.t; ++t) {
      losses.nll.push_back(0);
      if (b.targets[t] < 0) continue;
      const double* const row = &logits[t * b.v];
      losses.nll.back() = reference::log_loss(row, b.v, b.targets[t]);
      const double weight = b.weights.empty() ? 1.0 : b.weights[t];
      losses.total += weight * losses.nll.back();
      const double log_sum = losses.nll.back() + row[b.targets[t]];
      for (int64_t v = 0; v < b.v; ++v) {
        const double d_logit =
            weight * (std::exp(row[v] - log_sum) - (v == b.targets[t] ? 1.0 : 0.0));
        for (int64_t c = 0; c < b.c; ++c) {
          losses.hidden_gradient[t * b.c + c] += d_logit * b.w[v * b.c + c];
          losses.weight_gradient[v * b.c + c] += d_logit * b.hidden[t * b.c + c];
        }
      }
    }
    return losses;
  }

  void expect_losses(const Batch& b, const PreparedWeight& weight) {
    const Values before = random_(b.v * b.c);
    const Tensor hidden = put(b.hidden, {b.t, b.c});
    Tensor nll = put_f32(Values(b.targets.size(), NAN), {b.t});
    Tensor hidden_gradient = put(Values(b.hidden.size(), NAN), {b.t, b.c});
    Tensor weight_gradient = put_f32(before, {b.v, b.c});
    const double total =
        training_->cross_entropy(hidden.view(), weight, b.targets, b.weights, nll.view(),
                                 hidden_gradient.view(), weight_gradient.view());
    Losses oracle = wanted(b);
    const double largest = 1 + *std::max_element(oracle.nll.begin(), oracle.nll.end());
    EXPECT_NEAR(total, oracle.total, tolerance_ * largest * static_cast<double>(b.t));
    EXPECT_LE(error_per_element(get(nll.view()), oracle.nll), tolerance_ * largest);
    EXPECT_LE(relative_error(get(hidden_gradient.view()), oracle.hidden_gradient), tolerance_)
        << b.t << " of " << b.v;
    Values got = get(weight_gradient.view());
    for (size_t i = 0; i < got.size(); ++i) got[i] -= before[i];
    EXPECT_LE(error_per_element(got, oracle.weight_gradient), allowed(b.t)) << b.t << " of " << b.v;
    // What is not asked for is not needed for the rest.
    const double again =
        training_->cross_entropy(hidden.view(), weight, b.targets, b.weights, {}, {}, {});
    EXPECT_EQ(again, total);
    Tensor alone = put(Values(b.hidden.size(), NAN), {b.t, b.c});
    training_->cross_entropy(hidden.view(), weight, b.targets, b.weights, {}, alone.view(), {});
    EXPECT_EQ(get(alone.view()), get(hidden_gradient.view()));
  }
};

TEST_P(TrainingLossTest, GradientsEqualFiniteDifferences) {
  Batch b = batch(5, 11, 6, 1.0);
  b.targets[2] = -1;
  const Trained trained = train(b.w, b.v, b.c);
  const Tensor hidden = put(b.hidden, {b.t, b.c});
  Tensor d_hidden(backend_, activations_, {b.t, b.c});
  Tensor d_weight = put_f32(Values(b.w.size(), 0.0), {b.v, b.c});
  training_->cross_entropy(hidden.view(), *trained.weight, b.targets, b.weights, {},
                           d_hidden.view(), d_weight.view());
  const auto loss = [&](const Values& x, const Values& w) {
    const Values logits = reference::linear(x, w, b.t, b.v, b.c);
    double sum = 0;
    for (int64_t t = 0; t < b.t; ++t) {
      if (b.targets[t] >= 0)
        sum += b.weights[t] * reference::log_loss(&logits[t * b.v], b.v, b.targets[t]);
    }
    return sum;
  };
  EXPECT_LE(
      relative_error(get(d_hidden.view()),
                     numeric_gradient(b.hidden, [&](const Values& x) { return loss(x, b.w); })),
      tolerance_);
  EXPECT_LE(
      relative_error(get(d_weight.view()),
                     numeric_gradient(b.w, [&](const Values& w) { return loss(b.hidden, w); })),
      tolerance_);
}

TEST_P(TrainingLossTest, EqualsThePlainLoops) {
  for (const int64_t t : {1, 3, 65}) {
    for (const int64_t v : {1, 50, 1000, 1024}) {
      Batch b = batch(t, v, 34);
      const Trained trained = train(b.w, v, 34);
      expect_losses(b, *trained.weight);
      if (t > 2) b.targets[1] = -1;
      b.weights.clear();
      expect_losses(b, *trained.weight);
    }
  }
}

// More than one block of the vocabulary, and so large a one that the tokens come in chunks.
TEST_P(TrainingLossTest, EqualsThemAcrossBlocks) {
  const Batch wide = batch(20, 9000, 130, 0.3, DType::bf16);
  expect_losses(wide, *prepare(wide.w, wide.v, wide.c, DType::bf16, DType::bf16));
  const Batch chunked = batch(130, 150000, 2);
  const Trained trained = train(chunked.w, chunked.v, chunked.c);
  expect_losses(chunked, *trained.weight);
  const Batch spread = batch(20, 9216, 34);  // whose rows would share sets of the caches
  expect_losses(spread, *train(spread.w, spread.v, spread.c).weight);
  const Batch many = batch(1100, 60, 16);
  expect_losses(many, *train(many.w, many.v, many.c).weight);
}

// As in conversations, where only answers are trained.
TEST_P(TrainingLossTest, SkipsTokensWithoutATarget) {
  Batch b = batch(1500, 70, 20);
  for (int64_t t = 0; t < b.t; ++t) {
    if (t % 7 != 3) b.targets[t] = -1;
  }
  const Trained trained = train(b.w, b.v, b.c);
  expect_losses(b, *trained.weight);
  std::fill(b.targets.begin(), b.targets.end(), -1);
  const Tensor hidden = put(Values(b.hidden.size(), NAN), {b.t, b.c});  // not even read
  Tensor nll(backend_, DType::f32, {b.t});
  Tensor d_hidden(backend_, activations_, {b.t, b.c});
  EXPECT_EQ(training_->cross_entropy(hidden.view(), *trained.weight, b.targets, b.weights,
                                     nll.view(), d_hidden.view(), {}),
            0.0);
  EXPECT_EQ(get(nll.view()), Values(static_cast<size_t>(b.t), 0.0));
  EXPECT_EQ(get(d_hidden.view()), Values(b.hidden.size(), 0.0));
}

TEST_P(TrainingLossTest, HoldsForLargeLogits) {
  const Batch b = batch(20, 3000, 64, 30.0);
  const Trained trained = train(b.w, b.v, b.c);
  const Tensor hidden = put(b.hidden, {b.t, b.c});
  Tensor nll(backend_, DType::f32, {b.t});
  Tensor d_hidden(backend_, activations_, {b.t, b.c});
  training_->cross_entropy(hidden.view(), *trained.weight, b.targets, b.weights, nll.view(),
                           d_hidden.view(), {});
  const Losses oracle = wanted(b);
  // Logits of some hundred err by as many ulp, and what is left of the softmax by that much.
  const double large = 30.0 * std::sqrt(64.0);
  EXPECT_LE(error_per_element(get(nll.view()), oracle.nll), tolerance_ * large);
  EXPECT_LE(relative_error(get(d_hidden.view()), oracle.hidden_gradient), tolerance_ * large);
}

// A run that has gone astray must show it: NaN is neither the largest logit nor lost in a sum.
TEST_P(TrainingLossTest, NotANumberStaysOne) {
  Batch b = batch(40, 300, 24);
  b.hidden[7 * b.c + 5] = NAN;
  const Trained trained = train(b.w, b.v, b.c);
  const Tensor hidden = put(b.hidden, {b.t, b.c});
  Tensor nll(backend_, DType::f32, {b.t});
  const double total =
      training_->cross_entropy(hidden.view(), *trained.weight, b.targets, {}, nll.view(), {}, {});
  EXPECT_TRUE(std::isnan(total));
  const Values losses = get(nll.view());
  for (int64_t t = 0; t < b.t; ++t) EXPECT_EQ(std::isnan(losses[t]), t == 7) << t;
}

// The loss is the one that scoring reports.
TEST_P(TrainingLossTest, AgreesWithLogLoss) {
  const Batch b = batch(70, 500, 48);
  const Trained trained = train(b.w, b.v, b.c);
  const Tensor hidden = put(b.hidden, {b.t, b.c});
  Tensor scored(backend_, DType::f32, {b.t});
  Tensor lost(backend_, DType::f32, {b.t});
  training_->log_loss(hidden.view(), *trained.weight, b.targets, scored.view());
  training_->cross_entropy(hidden.view(), *trained.weight, b.targets, {}, lost.view(), {}, {});
  EXPECT_LE(error_per_element(get(lost.view()), get(scored.view())), tolerance_ * 8);
}

TEST_P(TrainingLossTest, RefusesWhatDoesNotFit) {
  const Trained trained = train(random_(50 * 8), 50, 8);
  const Tensor hidden = put(random(8), {1, 8});
  const auto loss = [&](int32_t target, std::vector<float> weights, TensorView gradient) {
    training_->cross_entropy(hidden.view(), *trained.weight, std::vector<int32_t>{target}, weights,
                             {}, gradient, {});
  };
  Tensor fits(backend_, activations_, {1, 8});
  Tensor narrow(backend_, activations_, {1, 7});
  EXPECT_NO_THROW(loss(49, {1.0F}, fits.view()));
  EXPECT_THROW(loss(50, {}, {}), BackendError);
  EXPECT_THROW(loss(-2, {}, {}), BackendError);
  EXPECT_THROW(loss(1, {1.0F, 2.0F}, {}), BackendError);
  EXPECT_THROW(loss(1, {}, narrow.view()), BackendError);
}

OKAPI_FOR_EACH_BACKEND(TrainingLossTest);

}  // namespace
}  // namespace okapi
