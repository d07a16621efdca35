#include "tests/backends/training_test.h"

namespace okapi {
namespace {

class TrainingAttentionTest : public TrainingTest {
 protected:
  static std::vector<TrainingSequence> sequences_of(const reference::Attention& shape) {
    std::vector<TrainingSequence> sequences;
    int64_t row = 0;
    for (size_t s = 0; s < shape.lengths.size(); ++s) {
      TrainingSequence sequence{row, shape.lengths[s], {}, {}, 1.0F};
      sequence.score_scale = static_cast<float>(shape.scales[s]);
      sequences.push_back(sequence);
      row += shape.lengths[s];
    }
    return sequences;
  }

  static reference::Attention shape_of(int64_t heads, int64_t kv_heads, int64_t head_dim,
                                       const std::vector<int64_t>& lengths) {
    reference::Attention shape{heads, kv_heads, head_dim, lengths, {}};
    for (size_t s = 0; s < lengths.size(); ++s) {  // temperatures that differ
      shape.scales.push_back(
          rounded((1.0 + 0.25 * static_cast<double>(s)) / std::sqrt(static_cast<double>(head_dim)),
                  DType::f32));
    }
    return shape;
  }

  struct Result {
    Values out, log_sums, gradient;
  };

  /// Both directions, into memory that holds NaN before: everything is written.
  Result run(const reference::Attention& shape, const Values& qkv, const Values& out_gradient) {
    return run(*training_, shape, qkv, out_gradient);
  }
  Result run(TrainingStream& stream, const reference::Attention& shape, const Values& qkv,
             const Values& out_gradient) {
    const int64_t t = shape.n_rows();
    const int64_t width = shape.n_heads * shape.head_dim;
    const HeadLayout heads{shape.n_heads, shape.n_kv_heads, shape.head_dim};
    const std::vector<TrainingSequence> sequences = sequences_of(shape);
    const Tensor input = put(qkv, {t, shape.row_width()});
    const Tensor d_out = put(out_gradient, {t, width});
    Tensor out = put(Values(static_cast<size_t>(t * width), NAN), {t, width});
    Tensor log_sums =
        put_f32(Values(static_cast<size_t>(t * shape.n_heads), NAN), {t, shape.n_heads});
    Tensor gradient = put(Values(qkv.size(), NAN), {t, shape.row_width()});
    stream_->synchronize();  // the stream in question need not be the one that uploaded
    stream.attention_forward(input.view(), heads, sequences, out.view(), log_sums.view());
    stream.attention_backward(input.view(), heads, sequences, out.view(), log_sums.view(),
                              d_out.view(), gradient.view());
    stream.synchronize();
    return {get(out.view()), get(log_sums.view()), get(gradient.view())};
  }

  void expect_gradient(const reference::Attention& shape, double query_scale = 1.0) {
    const int64_t t = shape.n_rows();
    Values qkv = random(t * shape.row_width());
    for (int64_t row = 0; row < t; ++row) {
      for (int64_t i = 0; i < shape.n_heads * shape.head_dim; ++i)
        qkv[row * shape.row_width() + i] =
            rounded(qkv[row * shape.row_width() + i] * query_scale, activations_);
    }
    const Values out_gradient = random(t * shape.n_heads * shape.head_dim);
    const Result got = run(shape, qkv, out_gradient);
    // As in the forward's test: scores err by a few ulp of their size, and weights by that much of
    // themselves.
    const double allowed = tolerance_ * std::max(1.0, query_scale);
    EXPECT_LE(error_per_element(got.out, shape.forward(qkv)), allowed) << describe(shape);
    EXPECT_LE(error_per_element(got.log_sums, shape.log_sums(qkv)), allowed) << describe(shape);
    EXPECT_LE(relative_error(got.gradient, shape.backward(qkv, out_gradient)), allowed)
        << describe(shape);
  }

  static std::string describe(const reference::Attention& shape) {
    std::string text = "heads " + std::to_string(shape.n_heads) + "/" +
                       std::to_string(shape.n_kv_heads) + " of " + std::to_string(shape.head_dim) +
                       ", lengths";
    for (int64_t length : shape.lengths) text += " " + std::to_string(length);
    return text;
  }
};

// The oracle of the larger shapes below is itself held against finite differences here.
TEST_P(TrainingAttentionTest, GradientEqualsFiniteDifferences) {
  for (const reference::Attention& shape :
       {shape_of(1, 1, 2, {3}), shape_of(3, 1, 8, {1, 5}), shape_of(4, 2, 6, {4, 1, 3})}) {
    const Values qkv = random(shape.n_rows() * shape.row_width());
    const Values out_gradient = random(shape.n_rows() * shape.n_heads * shape.head_dim);
    const Values numeric =
        numeric_gradient(qkv, [&](const Values& x) { return dot(shape.forward(x), out_gradient); });
    EXPECT_LE(relative_error(shape.backward(qkv, out_gradient), numeric), 1e-8);
    EXPECT_LE(relative_error(run(shape, qkv, out_gradient).gradient, numeric), tolerance_);
  }
}

// Every head_dim that is in use, and some that no vector divides; around the borders of tiles.
TEST_P(TrainingAttentionTest, EqualsThePlainLoops) {
  for (const int64_t head_dim : {8, 16, 34, 64, 80, 128}) {
    for (const int64_t length : {1, 17, 64, 65, 130}) {
      expect_gradient(shape_of(2, 2, head_dim, {length}));
    }
  }
}

TEST_P(TrainingAttentionTest, SumsTheGradientsOfSharedKeys) {
  expect_gradient(shape_of(9, 3, 64, {100}));
  expect_gradient(shape_of(6, 1, 16, {70, 3}));
  expect_gradient(shape_of(40, 1, 8, {20}));
}

TEST_P(TrainingAttentionTest, TakesRaggedBatches) {
  expect_gradient(shape_of(4, 2, 16, {1, 200, 64, 2, 63, 129}));
}

// Sequences of one length and scale, which a backend may take as a batch, in both ways of adding.
TEST_P(TrainingAttentionTest, TakesWholeBatches) {
  TrainingStreamOptions fast;
  fast.deterministic = false;
  const auto stream = backend_->training()->create_training_stream(fast);
  for (const int64_t head_dim : {64, 128}) {
    for (const int64_t length : {256, 301}) {
      reference::Attention shape = shape_of(4, 2, head_dim, {length, length});
      shape.scales[1] = shape.scales[0];
      const Values qkv = random(shape.n_rows() * shape.row_width());
      const Values out_gradient = random(shape.n_rows() * shape.n_heads * shape.head_dim);
      const Values wanted = shape.backward(qkv, out_gradient);
      for (TrainingStream* way : {training_, stream.get()}) {
        const Result got = run(*way, shape, qkv, out_gradient);
        EXPECT_LE(error_per_element(got.out, shape.forward(qkv)), tolerance_) << describe(shape);
        EXPECT_LE(error_per_element(got.log_sums, shape.log_sums(qkv)), tolerance_);
        EXPECT_LE(relative_error(got.gradient, wanted), tolerance_) << describe(shape);
      }
      const Result again = run(shape, qkv, out_gradient);
      EXPECT_EQ(run(shape, qkv, out_gradient).gradient, again.gradient);
    }
  }
}

// Batches that a device takes in parts, which need not be of one size: of sequences, then of heads.
// On a device alone: the pairs are some thousand million.
TEST_P(TrainingAttentionTest, TakesLargeBatchesInParts) {
  if (!backend_->device_memory() || activations_ != DType::bf16) GTEST_SKIP() << "not cut there";
  const int64_t n = 16384;
  for (reference::Attention shape : {shape_of(2, 2, 8, {n, n, n, n, n}), shape_of(14, 7, 8, {n})}) {
    std::fill(shape.scales.begin(), shape.scales.end(), 0.25);
    const Values qkv = random(shape.n_rows() * shape.row_width());
    const Values out_gradient = random(shape.n_rows() * shape.n_heads * shape.head_dim);
    TrainingStreamOptions options;
    options.deterministic = false;
    const Values wanted =
        run(*backend_->training()->create_training_stream(options), shape, qkv, out_gradient)
            .gradient;

    options.deterministic = true;
    const TrainingScratch planned = backend_->training()->scratch(
        options, static_cast<int64_t>(shape.lengths.size()), n,
        {shape.n_heads, shape.n_kv_heads, shape.head_dim}, 1, activations_);
    const uint64_t before = backend_->device_memory()->most_taken;
    const auto stream = backend_->training()->create_training_stream(options);
    const Result got = run(*stream, shape, qkv, out_gradient);
    const uint64_t taken = backend_->device_memory()->most_taken - before;
    // Beside scratch the tensors of the run itself, which are small here.
    EXPECT_LE(taken, planned.attention + planned.attention / 8 + (uint64_t{1} << 28));
    EXPECT_LE(relative_error(got.gradient, wanted), tolerance_) << describe(shape);
    EXPECT_EQ(run(*stream, shape, qkv, out_gradient).gradient, got.gradient) << describe(shape);
  }
}

// Long enough that one head's queries are divided among several tasks, whose sums are added.
TEST_P(TrainingAttentionTest, AddsUpTheParts) { expect_gradient(shape_of(2, 1, 8, {700})); }

// Scores of some hundred: all but a few weights vanish, none overflows.
TEST_P(TrainingAttentionTest, HoldsForLargeScores) {
  expect_gradient(shape_of(2, 1, 64, {70}), 60.0);
}

TEST_P(TrainingAttentionTest, SameInputsGiveTheSameBits) {
  const reference::Attention shape = shape_of(6, 3, 32, {300, 150});
  const Values qkv = random(shape.n_rows() * shape.row_width());
  const Values out_gradient = random(shape.n_rows() * shape.n_heads * shape.head_dim);
  const Result first = run(shape, qkv, out_gradient);
  for (int repeat = 0; repeat < 3; ++repeat) {
    const Result again = run(shape, qkv, out_gradient);
    EXPECT_EQ(first.out, again.out);
    EXPECT_EQ(first.log_sums, again.log_sums);
    EXPECT_EQ(first.gradient, again.gradient);
  }
}

// The forward is the one of inference, to the bit.
TEST_P(TrainingAttentionTest, ForwardEqualsThatOnPages) {
  const int64_t t = 150;
  const int64_t d = 32;
  const HeadLayout heads{4, 2, d};
  const KvLayout layout{1, 2, d, backend_->page_tokens(), backend_->kv_dtype()};
  Tensor qkv = put(random(t * heads.row_width()), {t, heads.row_width()});
  std::vector<Tensor> memory;
  std::vector<void*> pages;
  for (int64_t token = 0; token < t; token += layout.page_tokens) {
    memory.emplace_back(backend_, layout.dtype,
                        std::initializer_list<int64_t>{2 * 2 * layout.page_tokens * d});
    pages.push_back(memory.back().view().data);
  }
  KvSequence cached{0, t, 0, pages.data(), static_cast<int64_t>(pages.size())};
  cached.score_scale = 0.2F;
  training_->rotate_and_store(qkv.view(), 4, layout, 0, std::span(&cached, 1));
  Tensor inferred(backend_, activations_, {t, 4 * d});
  training_->attention(qkv.view(), 4, layout, 0, std::span(&cached, 1), inferred.view());

  const TrainingSequence sequence{0, t, {}, {}, 0.2F};
  Tensor trained(backend_, activations_, {t, 4 * d});
  Tensor log_sums(backend_, DType::f32, {t, 4});
  training_->attention_forward(qkv.view(), heads, std::span(&sequence, 1), trained.view(),
                               log_sums.view());
  EXPECT_EQ(get(trained.view()), get(inferred.view()));
}

TEST_P(TrainingAttentionTest, RefusesWhatDoesNotFit) {
  const HeadLayout heads{4, 2, 16};
  const Tensor qkv = put(random(4 * 8 * 16), {4, 8 * 16});
  Tensor out = put(random(4 * 64), {4, 64});
  Tensor log_sums = put_f32(random_(4 * 4), {4, 4});
  Tensor gradient(backend_, activations_, {4, 8 * 16});
  const auto forward = [&](const HeadLayout& layout, std::vector<TrainingSequence> sequences) {
    training_->attention_forward(qkv.view(), layout, sequences, out.view(), log_sums.view());
  };
  const auto backward = [&](std::vector<TrainingSequence> sequences) {
    training_->attention_backward(qkv.view(), heads, sequences, out.view(), log_sums.view(),
                                  out.view(), gradient.view());
  };
  EXPECT_NO_THROW(forward(heads, {{0, 4}}));
  EXPECT_NO_THROW(backward({{0, 1}, {1, 3}}));
  EXPECT_THROW(forward({3, 2, 16}, {{0, 4}}), BackendError);
  EXPECT_THROW(forward({4, 2, 15}, {{0, 4}}), BackendError);
  EXPECT_THROW(forward({2, 2, 16}, {{0, 4}}), BackendError);
  EXPECT_THROW(forward(heads, {{0, 3}}), BackendError);          // a row of nobody
  EXPECT_THROW(forward(heads, {{0, 3}, {2, 2}}), BackendError);  // a row of two
  EXPECT_THROW(backward({{0, 5}}), BackendError);
  EXPECT_THROW(backward({{0, 4}, {4, 0}}), BackendError);
}

OKAPI_FOR_EACH_BACKEND(TrainingAttentionTest);

}  // namespace
}  // namespace okapi
