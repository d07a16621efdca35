// What training's operations may use: memory that grows with the tokens, not with their square, and
// the threads allowed; and that they give the same bytes every time.
#include <malloc.h>

#include "tests/backends/training_test.h"

namespace okapi {
namespace {

class TrainingLimitsTest : public TrainingTest {
 protected:
  static size_t allocated() {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
  }

  /// What a fresh stream keeps of host memory after the operation: its scratch.
  template <typename Operation>
  size_t scratch_of(const Operation& operation) {
    const size_t before = allocated();
    const auto stream = backend_->training()->create_training_stream();
    operation(*stream);
    stream->synchronize();
    return allocated() - before;
  }

  void attention_both_ways(TrainingStream& stream, int64_t t, const Tensor& qkv, Tensor& gradient,
                           Tensor& out, Tensor& log_sums) {
    const TrainingSequence sequence{0, t, {}, {}, 0.3F};
    const HeadLayout heads{2, 1, 8};
    stream.attention_forward(qkv.view(), heads, std::span(&sequence, 1), out.view(),
                             log_sums.view());
    stream.attention_backward(qkv.view(), heads, std::span(&sequence, 1), out.view(),
                              log_sums.view(), out.view(), gradient.view());
  }

  size_t attention_scratch(int64_t t) {
    const Tensor qkv = put(random(t * 32), {t, 32});
    Tensor gradient(backend_, activations_, {t, 32});
    Tensor out(backend_, activations_, {t, 16});
    Tensor log_sums(backend_, DType::f32, {t, 2});
    return scratch_of([&](TrainingStream& stream) {
      attention_both_ways(stream, t, qkv, gradient, out, log_sums);
    });
  }

  size_t loss_scratch(int64_t t, int64_t v) {
    const int64_t c = 4;
    const Trained trained = train(random_(v * c), v, c);
    const Tensor hidden = put(random(t * c), {t, c});
    Tensor d_hidden(backend_, activations_, {t, c});
    Tensor d_weight = put_f32(Values(static_cast<size_t>(v * c)), {v, c});
    const std::vector<int32_t> targets(static_cast<size_t>(t), 1);
    return scratch_of([&](TrainingStream& stream) {
      stream.cross_entropy(hidden.view(), *trained.weight, targets, {}, {}, d_hidden.view(),
                           d_weight.view());
    });
  }
};

TEST_P(TrainingLimitsTest, AttentionsMemoryIsLinear) {
  if (backend_->name() != "cpu") GTEST_SKIP() << "counts host memory";
  if (attention_scratch(64) == 0) GTEST_SKIP() << "this allocator does not count";
  const size_t at_1k = attention_scratch(1024);
  const size_t at_4k = attention_scratch(4096);
  EXPECT_GT(at_1k, size_t{0});
  // Large buffers are aligned to huge pages, of which the allocator counts the whole.
  EXPECT_LE(at_4k, 4 * at_1k + (size_t{8} << 20));
  EXPECT_LT(at_4k, size_t{4096} * 4096 * sizeof(float) / 4);
}

TEST_P(TrainingLimitsTest, CrossEntropysMemoryDoesNotGrowWithTheLogits) {
  if (backend_->name() != "cpu") GTEST_SKIP() << "counts host memory";
  if (loss_scratch(64, 100) == 0) GTEST_SKIP() << "this allocator does not count";
  const int64_t v = 60000;
  const size_t of_a_chunk = loss_scratch(1024, v);
  const size_t of_many = loss_scratch(4096, v);
  EXPECT_LE(of_many, of_a_chunk + size_t{4096} * 64);  // some words a token
  EXPECT_LT(of_many, size_t{4096} * v * sizeof(float) / 8);
}

// The whole of a layer, several times: with as many threads as tests use, and alone.
TEST_P(TrainingLimitsTest, SameInputsGiveTheSameBits) {
  const int64_t t = 200;
  const int64_t c = 48;
  const int64_t v = 300;
  const Trained trained = train(random_(v * c), v, c);
  const Tensor x = put(random(t * c), {t, c});
  const Tensor norm = put_f32(random_(c), {c});
  std::vector<int32_t> targets;
  for (int64_t i = 0; i < t; ++i) targets.push_back(static_cast<int32_t>(random_.below(v)));
  const auto run = [&] {
    Tensor d_x = put(Values(static_cast<size_t>(t * c)), {t, c});
    Tensor d_norm = put_f32(Values(static_cast<size_t>(c)), {c});
    Tensor d_weight = put_f32(Values(static_cast<size_t>(v * c)), {v, c});
    Tensor d_hidden(backend_, activations_, {t, c});
    Values all;
    all.push_back(training_->cross_entropy(x.view(), *trained.weight, targets, {}, {},
                                           d_hidden.view(), d_weight.view()));
    training_->rms_norm_backward(x.view(), norm.view(), 1e-5F, d_hidden.view(), d_x.view(),
                                 d_norm.view());
    training_->embed_backward(targets, d_x.view(), d_weight.view());
    training_->linear_backward_weight(x.view(), d_x.view(),
                                      TensorView(d_weight.view().data, DType::f32, {c, c}));
    all.push_back(training_->squared_norm(d_weight.view()));
    for (const Tensor* tensor : {&d_x, &d_norm, &d_weight, &d_hidden}) {
      const Values values = get(tensor->view());
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  };
  const Values first = run();
  for (int repeat = 0; repeat < 3; ++repeat) EXPECT_EQ(run(), first);
}

// Another limit may add in another order, but not by more than rounding.
TEST_P(TrainingLimitsTest, OtherThreadLimitsAgreeToRounding) {
  const int64_t t = 700;
  const Values qkv = random(t * 32);
  std::vector<Values> gradients;
  for (const int n_threads : {1, 2, 3}) {
    const std::shared_ptr<Backend> backend = open_for_test(GetParam(), n_threads);
    const auto stream = backend->training()->create_training_stream();
    const Tensor input = put(qkv, {t, 32});
    Tensor gradient(backend_, activations_, {t, 32});
    Tensor out(backend_, activations_, {t, 16});
    Tensor log_sums(backend_, DType::f32, {t, 2});
    stream_->synchronize();  // which put it there
    attention_both_ways(*stream, t, input, gradient, out, log_sums);
    stream->synchronize();
    gradients.push_back(get(gradient.view()));
  }
  EXPECT_LE(relative_error(gradients[1], gradients[0]), tolerance_);
  EXPECT_LE(relative_error(gradients[2], gradients[0]), tolerance_);
}

OKAPI_FOR_EACH_BACKEND(TrainingLimitsTest);

}  // namespace
}  // namespace okapi
