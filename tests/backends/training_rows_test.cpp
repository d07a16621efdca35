// The backward of the operations that visit each row on its own: norm, rotation, gate, embedding.
#include "tests/backends/paged_sequence.h"
#include "tests/backends/training_test.h"

namespace okapi {
namespace {

class TrainingRowsTest : public TrainingTest {
 protected:
  static constexpr double kEpsilon = 1e-5;

  void expect_norm_gradient(int64_t t, int64_t n, bool wants_weight) {
    const Values residual = random(t * n);
    const Values weight = random_(n);
    const Values out_gradient = random(t * n);
    const Values before = random(t * n);
    const Values weight_before = random_(n);
    const Tensor residual_view = put(residual, {t, n});
    const Tensor weight_view = put_f32(weight, {n});
    const Tensor out_gradient_view = put(out_gradient, {t, n});
    Tensor residual_gradient = put(before, {t, n});
    Tensor weight_gradient = put_f32(weight_before, {n});
    training_->rms_norm_backward(residual_view.view(), weight_view.view(),
                                 static_cast<float>(kEpsilon), out_gradient_view.view(),
                                 residual_gradient.view(),
                                 wants_weight ? weight_gradient.view() : TensorView());

    // Row by row: a row's gradient is its own.
    Values wanted;
    for (int64_t row = 0; row < t; ++row) {
      const Values x(residual.begin() + row * n, residual.begin() + (row + 1) * n);
      const Values g(out_gradient.begin() + row * n, out_gradient.begin() + (row + 1) * n);
      const Values numeric = numeric_gradient(x, [&](const Values& moved) {
        return dot(reference::rms_norm(moved, weight, 1, n, kEpsilon), g);
      });
      wanted.insert(wanted.end(), numeric.begin(), numeric.end());
    }
    for (size_t i = 0; i < wanted.size(); ++i) wanted[i] += before[i];
    EXPECT_LE(error_per_element(get(residual_gradient.view()), wanted), tolerance_) << n;

    if (!wants_weight) {
      EXPECT_EQ(get(weight_gradient.view()), weight_before);
      return;
    }
    // The output is linear in the weight: its gradient is that of ones, times the gradient.
    const Values normed =
        reference::rms_norm(residual, Values(static_cast<size_t>(n), 1.0), t, n, kEpsilon);
    Values wanted_weight = weight_before;
    for (int64_t i = 0; i < t * n; ++i) wanted_weight[i % n] += normed[i] * out_gradient[i];
    EXPECT_LE(error_per_element(get(weight_gradient.view()), wanted_weight), allowed(t)) << n;
  }

  void expect_gate_gradient(int64_t t, int64_t n, double scale, bool in_place) {
    const Values gate_up = random(t * 2 * n, scale);
    const Values out_gradient = random(t * n);
    Tensor input = put(gate_up, {t, 2 * n});
    const Tensor d_out = put(out_gradient, {t, n});
    Tensor apart = put(Values(gate_up.size(), NAN), {t, 2 * n});
    TensorView gradient = in_place ? input.view() : apart.view();
    training_->swiglu_backward(input.view(), d_out.view(), gradient);
    Values wanted;
    for (int64_t row = 0; row < t; ++row) {
      Values rest(static_cast<size_t>(2 * n));
      for (int64_t i = 0; i < 2 * n; ++i) {
        // Of one element at a time: gate i and up i make output i alone.
        const int64_t column = i % n;
        const Values pair = {gate_up[row * 2 * n + column], gate_up[row * 2 * n + n + column]};
        const Values numeric = numeric_gradient(
            pair, [&](const Values& moved) { return reference::swiglu(moved, 1, 1)[0]; });
        rest[i] = numeric[i < n ? 0 : 1] * out_gradient[row * n + column];
      }
      wanted.insert(wanted.end(), rest.begin(), rest.end());
    }
    EXPECT_LE(relative_error(get(gradient), wanted), tolerance_) << t << " x " << n;
  }
};

TEST_P(TrainingRowsTest, NormEqualsFiniteDifferences) {
  for (const int64_t n : {1, 3, 34, 64, 100, 131}) {
    for (const int64_t t : {1, 7}) expect_norm_gradient(t, n, true);
  }
  expect_norm_gradient(300, 130, true);  // worth two threads
  expect_norm_gradient(3, 20, false);
}

TEST_P(TrainingRowsTest, GateEqualsFiniteDifferences) {
  for (const int64_t n : {1, 3, 34, 64, 100}) {
    expect_gate_gradient(3, n, 1.0, false);
    expect_gate_gradient(3, n, 1.0, true);
  }
  expect_gate_gradient(2, 40, 8.0, false);
  expect_gate_gradient(200, 96, 1.0, true);
}

// Where the gate is closed or wide open the derivative is 0 or 1, and nothing overflows.
TEST_P(TrainingRowsTest, GateHoldsFarOut) {
  const Tensor input = put({-1000, 1000, 2, 3}, {1, 4});
  const Tensor d_out = put({5, 7}, {1, 2});
  Tensor gradient(backend_, activations_, {1, 4});
  training_->swiglu_backward(input.view(), d_out.view(), gradient.view());
  EXPECT_LE(error_per_element(get(gradient.view()), {0, 21, 0, rounded(7000, activations_)}),
            1e-30);
}

// rotate is inference's rotation of queries and of keys by their own tables, and backward is its
// transpose: <rotate x, y> = <x, rotate back y>.
TEST_P(TrainingRowsTest, RotatesThereAndTransposed) {
  for (const HeadLayout heads : {HeadLayout{1, 1, 2}, {3, 1, 16}, {4, 2, 34}, {2, 2, 128}}) {
    const int64_t lengths[] = {5, 1, 40};
    const int64_t t = 46;
    const int64_t d = heads.head_dim;
    const int64_t width = heads.row_width();
    std::vector<Rotation> rotations;
    std::vector<Tensor> tables;
    std::vector<TrainingSequence> sequences;
    for (int s = 0; s < 3; ++s) {
      for (int side = 0; side < 2; ++side) {
        rotations.push_back(random_rotation(random_, lengths[s] + s, d));  // with rows to spare
        tables.push_back(put_f32(rotations.back().cosines, {lengths[s] + s, d / 2}));
        tables.push_back(put_f32(rotations.back().sines, {lengths[s] + s, d / 2}));
      }
    }
    int64_t row = 0;
    for (size_t s = 0; s < 3; ++s) {
      sequences.push_back({row,
                           lengths[s],
                           {tables[4 * s].view(), tables[4 * s + 1].view()},
                           {tables[4 * s + 2].view(), tables[4 * s + 3].view()}});
      row += lengths[s];
    }
    sequences[1].query_rotation = {};  // left as it is

    const Values x = random(t * width);
    const Values y = random(t * width);
    Values wanted = x;
    row = 0;
    for (int s = 0; s < 3; ++s) {
      for (int64_t i = 0; i < lengths[s]; ++i, ++row) {
        for (int64_t head = 0; head < heads.n_heads + heads.n_kv_heads; ++head) {
          const bool is_query = head < heads.n_heads;
          if (is_query && s == 1) continue;
          const Rotation& rotation = rotations[2 * s + (is_query ? 0 : 1)];
          reference::rotate(&wanted[row * width + head * d], &rotation.cosines[i * d / 2],
                            &rotation.sines[i * d / 2], d);
        }
      }
    }
    Tensor there = put(x, {t, width});
    training_->rotate(there.view(), heads, sequences, false);
    EXPECT_LE(relative_error(get(there.view()), wanted), tolerance_);
    Tensor back = put(y, {t, width});
    training_->rotate(back.view(), heads, sequences, true);
    // Column by column of the rotation: its transpose moves unit vectors onto its rows. Random
    // vectors tell the same to within their dot products' rounding.
    EXPECT_NEAR(dot(wanted, y), dot(x, get(back.view())),
                tolerance_ * std::sqrt(dot(x, x) * dot(y, y)));
    const Values numeric = numeric_gradient({x[0], x[d / 2]}, [&](const Values& pair) {
      Values head(x.begin(), x.begin() + d);
      head[0] = pair[0];
      head[d / 2] = pair[1];
      reference::rotate(head.data(), rotations[0].cosines.data(), rotations[0].sines.data(), d);
      return dot(head, Values(y.begin(), y.begin() + d));
    });
    EXPECT_NEAR(get(back.view())[0], numeric[0], tolerance_ * 4);
    EXPECT_NEAR(get(back.view())[d / 2], numeric[1], tolerance_ * 4);
  }
}

TEST_P(TrainingRowsTest, RotateRefusesRowsOfNobodyAndShortTables) {
  const HeadLayout heads{2, 1, 8};
  Tensor qkv = put(random(5 * 32), {5, 32});
  const Tensor table = put_f32(random_(4 * 4), {4, 4});
  TrainingSequence sequence{0, 5};
  EXPECT_NO_THROW(training_->rotate(qkv.view(), heads, std::span(&sequence, 1), false));
  sequence.query_rotation = {table.view(), table.view()};
  EXPECT_THROW(training_->rotate(qkv.view(), heads, std::span(&sequence, 1), false), BackendError);
  sequence.query_rotation = {};
  sequence.n_tokens = 4;
  EXPECT_THROW(training_->rotate(qkv.view(), heads, std::span(&sequence, 1), true), BackendError);
}

// A token that comes many times: its row gets the sum, the others keep what they had.
TEST_P(TrainingRowsTest, EmbeddingAddsTheRowsOfEachToken) {
  for (const int64_t n : {1, 34, 600}) {
    const int64_t v = 7;
    std::vector<int32_t> ids = {3, 0, 3, 6, 3};
    for (int i = 0; i < 100; ++i) ids.push_back(static_cast<int32_t>(random_.below(5)));
    const auto t = static_cast<int64_t>(ids.size());
    const Values out_gradient = random(t * n);
    const Values before = random_(v * n);
    const Tensor d_out = put(out_gradient, {t, n});
    Tensor table = put_f32(before, {v, n});
    training_->embed_backward(ids, d_out.view(), table.view());
    Values wanted = before;
    for (int64_t row = 0; row < t; ++row) {
      for (int64_t i = 0; i < n; ++i) wanted[ids[row] * n + i] += out_gradient[row * n + i];
    }
    EXPECT_LE(error_per_element(get(table.view()), wanted), allowed(t));
    const Values got = get(table.view());
    EXPECT_TRUE(std::equal(got.begin() + 5 * n, got.begin() + 6 * n, before.begin() + 5 * n));
  }
  Tensor table = put_f32(random_(8), {2, 4});
  const Tensor d_out = put(random(4), {1, 4});
  EXPECT_THROW(training_->embed_backward(std::vector<int32_t>{2}, d_out.view(), table.view()),
               BackendError);
  EXPECT_THROW(training_->embed_backward(std::vector<int32_t>{-1}, d_out.view(), table.view()),
               BackendError);
}

TEST_P(TrainingRowsTest, RefuseWhatDoesNotFit) {
  const Tensor a = put(random(12), {3, 4});
  Tensor b = put(random(12), {3, 4});
  const Tensor narrow = put(random(9), {3, 3});
  const Tensor weight = put_f32(random_(4), {4});
  EXPECT_THROW(
      training_->rms_norm_backward(a.view(), weight.view(), 1e-5F, narrow.view(), b.view(), {}),
      BackendError);
  EXPECT_THROW(
      training_->rms_norm_backward(a.view(), weight.view(), 1e-5F, a.view(), b.view(), b.view()),
      BackendError);
  EXPECT_THROW(training_->swiglu_backward(a.view(), narrow.view(), b.view()), BackendError);
}

OKAPI_FOR_EACH_BACKEND(TrainingRowsTest);

}  // namespace
}  // namespace okapi
