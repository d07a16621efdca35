#include <utility>

#include "tests/backends/backend_test.h"

namespace okapi {
namespace {

class LinearTest : public BackendTest {
 protected:
  /// A sum of k products of numbers of size 1 and random sign is of size sqrt(k).
  double allowed(int64_t k) const { return tolerance_ * std::sqrt(static_cast<double>(k)); }

  void expect_product(int64_t m, int64_t n, int64_t k, DType dtype) {
    const Values x = random(m * k);
    const Values w = random_(n * k, 1.0, dtype);
    const auto weight = prepare(w, n, k, dtype, dtype);
    const Tensor input = put(x, {m, k});
    Tensor out(backend_, activations_, {m, n});
    stream_->linear(input.view(), *weight, out.view());
    EXPECT_LE(error_per_element(get(out.view()), reference::linear(x, w, m, n, k)), allowed(k))
        << m << " x " << n << " x " << k << (dtype == DType::bf16 ? " bf16" : " f32");
  }
};

TEST_P(LinearTest, EqualsThePlainProduct) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const int64_t m : {1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 65}) {
      for (const int64_t n : {1, 3, 64, 100}) {
        for (const int64_t k : {1, 2, 34, 64, 100, 576}) expect_product(m, n, k, dtype);
      }
    }
  }
}

// More rows than any primitive takes at once, with a rest; more weight than one widened block; rows
// that are long.
TEST_P(LinearTest, EqualsThePlainProductWhenLarge) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    expect_product(1000, 70, 96, dtype);
    expect_product(17, 4500, 256, dtype);
    expect_product(40, 4500, 256, dtype);
    expect_product(1, 4500, 256, dtype);
    expect_product(100, 70, 2080, dtype);
    expect_product(8, 53, 5632, dtype);
    expect_product(17, 2200, 2600, dtype);
  }
}

TEST_P(LinearTest, LeavesWhatLiesBetweenTheRowsAlone) {
  for (const auto& [m, dtype] : {std::pair<int64_t, DType>{1, DType::f32},
                                 {5, DType::f32},
                                 {40, DType::f32},
                                 {5, DType::bf16},
                                 {40, DType::bf16}}) {
    const int64_t n = 100;
    const int64_t k = 48;
    const Values x = random(m * 2 * k);
    const Values w = random_(n * k, 1.0, dtype);
    const auto weight = prepare(w, n, k, dtype, dtype);
    const Tensor input = put(x, {m, 2 * k});
    Tensor out = put(Values(static_cast<size_t>(m * 2 * n), 7.0), {m, 2 * n});
    ConstTensorView left_input = input.view();
    left_input.shape[1] = k;
    TensorView left_out = out.view();
    left_out.shape[1] = n;
    stream_->linear(left_input, *weight, left_out);

    const Values got = get(out.view());
    Values left;
    for (int64_t row = 0; row < m; ++row) {
      const Values wanted = reference::linear(
          Values(x.begin() + row * 2 * k, x.begin() + row * 2 * k + k), w, 1, n, k);
      const Values product(got.begin() + row * 2 * n, got.begin() + row * 2 * n + n);
      EXPECT_LE(error_per_element(product, wanted), allowed(k));
      for (int64_t i = n; i < 2 * n; ++i) EXPECT_EQ(got[row * 2 * n + i], 7.0);
    }
  }
}

TEST_P(LinearTest, SameInputsGiveTheSameBits) {
  for (const auto& [m, dtype] : {std::pair<int64_t, DType>{1, DType::f32},
                                 {7, DType::f32},
                                 {64, DType::f32},
                                 {300, DType::f32},
                                 {7, DType::bf16},
                                 {300, DType::bf16}}) {
    const auto weight = prepare(random_(200 * 96, 1.0, dtype), 200, 96, dtype, dtype);
    const Tensor input = put(random(m * 96), {m, 96});
    Tensor first(backend_, activations_, {m, 200});
    Tensor second(backend_, activations_, {m, 200});
    stream_->linear(input.view(), *weight, first.view());
    stream_->linear(input.view(), *weight, second.view());
    EXPECT_EQ(get(first.view()), get(second.view()));
  }
}

// Decoding in a batch: a row's sums do not depend on how many rows stand beside it.
TEST_P(LinearTest, AFewRowsDoNotDependOnOneAnother) {
  const auto weight = prepare(random_(50 * 96), 50, 96, DType::f32, DType::f32);
  const Values x = random(6 * 96);
  const Tensor six = put(x, {6, 96});
  const Tensor two = put(Values(x.begin(), x.begin() + 2 * 96), {2, 96});
  Tensor out_six(backend_, activations_, {6, 50});
  Tensor out_two(backend_, activations_, {2, 50});
  stream_->linear(six.view(), *weight, out_six.view());
  stream_->linear(two.view(), *weight, out_two.view());
  const Values all = get(out_six.view());
  EXPECT_EQ(get(out_two.view()), Values(all.begin(), all.begin() + 100));
}

// The same for a whole step of a layer, whose operations a backend may run together: norm, product,
// gate, product, addition. bf16 weights beside activations of any kind, sizes that fill no tile.
TEST_P(LinearTest, AStepOfAFewRowsDoesNotDependOnHowManyThereAre) {
  const int64_t width = 96;
  const int64_t inner = 136;
  const auto in = prepare(random_(2 * inner * width, 0.1, DType::bf16), 2 * inner, width,
                          DType::bf16, DType::bf16);
  const auto out =
      prepare(random_(width * inner, 0.1, DType::bf16), width, inner, DType::bf16, DType::bf16);
  const Tensor gain = put_f32(random_(width), {width});
  const Values x = random(6 * width);

  const auto step = [&](int64_t m) {
    Tensor residual = put(Values(x.begin(), x.begin() + m * width), {m, width});
    Tensor normed(backend_, activations_, {m, width});
    Tensor gate_up(backend_, activations_, {m, 2 * inner});
    Tensor gated(backend_, activations_, {m, inner});
    Tensor delta(backend_, activations_, {m, width});
    stream_->add_rms_norm(residual.view(), {}, gain.view(), 1e-5F, normed.view());
    stream_->linear(normed.view(), *in, gate_up.view());
    stream_->swiglu(gate_up.view(), gated.view());
    stream_->linear(gated.view(), *out, delta.view());
    stream_->add_rms_norm(residual.view(), delta.view(), gain.view(), 1e-5F, normed.view());
    Values all;
    for (const ConstTensorView& view : {std::as_const(residual).view(),
                                        std::as_const(normed).view(), std::as_const(gate_up).view(),
                                        std::as_const(gated).view(), std::as_const(delta).view()}) {
      const Values got = get(view);
      all.insert(all.end(), got.begin(), got.begin() + 2 * view.shape[1]);
    }
    return all;
  };
  EXPECT_EQ(step(2), step(6));
  EXPECT_EQ(step(6), step(5));
}

// Where it was asked for, up to the number of rows that the backend states: a single row and a full
// call too.
TEST_P(LinearTest, InvariantRowsAreTheSameToTheBitInEveryCall) {
  const int64_t most = backend_->invariant_rows();
  const int64_t n = 53;
  stream_->set_row_invariant(true);
  for (const auto& [k, dtype] : {std::pair<int64_t, DType>{168, DType::f32},
                                 {168, DType::bf16},
                                 {2600, DType::f32},
                                 {2600, DType::bf16}}) {
    const auto weight = prepare(random_(n * k, 0.1, dtype), n, k, dtype, dtype);
    const Values x = random(most * k);
    const auto product = [&, k = k](int64_t first, int64_t m) {
      const Tensor rows = put(Values(x.begin() + first * k, x.begin() + (first + m) * k), {m, k});
      Tensor out(backend_, activations_, {m, n});
      stream_->linear(rows.view(), *weight, out.view());
      return get(out.view());
    };
    const Values all = product(0, most);
    for (const int64_t m : {1, 2, 3, 7, 16, 31}) {
      if (m > most) continue;
      const int64_t first = most - m;
      EXPECT_EQ(product(first, m), Values(all.begin() + first * n, all.end())) << m << ", " << k;
    }
  }
}

TEST_P(LinearTest, RefusesShapesThatDiffer) {
  const auto weight = prepare(random_(50 * 96), 50, 96, DType::f32, DType::f32);
  const Tensor input = put(random(2 * 95), {2, 95});
  Tensor out(backend_, activations_, {2, 50});
  EXPECT_THROW(stream_->linear(input.view(), *weight, out.view()), BackendError);
}

OKAPI_FOR_EACH_BACKEND(LinearTest);

}  // namespace
}  // namespace okapi
