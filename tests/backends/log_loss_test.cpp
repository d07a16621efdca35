#include "tests/backends/backend_test.h"

namespace okapi {
namespace {

class LogLossTest : public BackendTest {
 protected:
  void expect_loss(int64_t t, int64_t v, int64_t c, DType dtype, double scale) {
    const Values hidden = random(t * c, scale);
    const Values w = random_(v * c, 1.0, dtype);
    std::vector<int32_t> targets(static_cast<size_t>(t));
    for (int32_t& target : targets) target = static_cast<int32_t>(random_.below(v));
    targets.front() = 0;
    targets.back() = static_cast<int32_t>(v - 1);
    if (t > 2) targets[1] = -1;

    const auto weight = prepare(w, v, c, dtype, dtype);
    const Tensor input = put(hidden, {t, c});
    Tensor nll(backend_, DType::f32, {t});
    stream_->log_loss(input.view(), *weight, targets, nll.view());
    const Values got = get(nll.view());
    const Values logits = reference::linear(hidden, w, t, v, c);
    for (int64_t i = 0; i < t; ++i) {
      const double wanted = targets[i] < 0 ? 0 : reference::log_loss(&logits[i * v], v, targets[i]);
      // A loss is a difference of logits: its error is theirs, of the size of their largest.
      const double largest =
          std::abs(*std::max_element(&logits[i * v], &logits[i * v] + v)) + std::abs(wanted);
      EXPECT_NEAR(got[i], wanted, tolerance_ * (1 + largest)) << i << " of " << t << ", " << v;
    }
  }
};

TEST_P(LogLossTest, EqualsTheLogarithmOfTheSoftmax) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t t : {1, 3, 65}) {
      for (const int64_t v : {1, 50, 1000}) expect_loss(t, v, 34, dtype, 0.3);
    }
  }
}

// More than one chunk of tokens, more than one block of the vocabulary.
TEST_P(LogLossTest, EqualsItAcrossBlocks) {
  expect_loss(600, 5000, 16, DType::f32, 0.3);
  expect_loss(20, 9000, 130, DType::bf16, 0.3);
  expect_loss(2, 9000, 130, DType::f32, 0.3);
}

// Logits of hundreds: the exponentials of most vanish, none overflows.
TEST_P(LogLossTest, HoldsForLargeLogits) { expect_loss(20, 3000, 64, DType::f32, 30.0); }

TEST_P(LogLossTest, RefusesATargetOutsideTheVocabulary) {
  const auto weight = prepare(random_(50 * 8), 50, 8, DType::f32, DType::f32);
  const Tensor input = put(random(8), {1, 8});
  Tensor nll(backend_, DType::f32, {1});
  EXPECT_THROW(stream_->log_loss(input.view(), *weight, std::vector<int32_t>{50}, nll.view()),
               BackendError);
  EXPECT_THROW(stream_->log_loss(input.view(), *weight, std::vector<int32_t>{-2}, nll.view()),
               BackendError);
}

OKAPI_FOR_EACH_BACKEND(LogLossTest);

}  // namespace
}  // namespace okapi
