#include "tests/backends/backend_test.h"

namespace okapi {
namespace {

class RmsNormTest : public BackendTest {};

TEST_P(RmsNormTest, AddsThenDividesByTheRootMeanSquare) {
  for (const int64_t t : {1, 3, 65}) {
    for (const int64_t n : {1, 34, 64, 576, 4096}) {
      for (const bool has_delta : {false, true}) {
        const Values before = random(t * n, 3.0);
        const Values delta = random(t * n);
        const Values weight = random_(n);
        Tensor residual = put(before, {t, n});
        Tensor out(backend_, activations_, {t, n});
        const Tensor added = put(delta, {t, n});
        const Tensor gain = put_f32(weight, {n});
        stream_->add_rms_norm(residual.view(), has_delta ? added.view() : ConstTensorView(),
                              gain.view(), 1e-5F, out.view());
        Values wanted = before;
        if (has_delta) {
          for (size_t i = 0; i < wanted.size(); ++i)
            wanted[i] = rounded(wanted[i] + delta[i], activations_);
        }
        EXPECT_EQ(get(residual.view()), wanted);
        EXPECT_LT(relative_error(get(out.view()), reference::rms_norm(wanted, weight, t, n, 1e-5)),
                  tolerance_)
            << t << " x " << n;
      }
    }
  }
}

// A backend may add a product to the residual as it is made, but only if nothing comes between.
TEST_P(RmsNormTest, AddsTheProductBeforeIt) {
  const int64_t n = 96;
  const int64_t k = 136;
  for (const int64_t t : {2, 20, 65, 300}) {
    for (const bool is_replaced : {false, true}) {
      const Values before = random(t * n, 3.0);
      const Values x = random(t * k);
      const Values w = random_(n * k, 0.1, activations_);
      const Values other = random(t * n);
      const Values gain = random_(n);
      const auto weight = prepare(w, n, k, activations_, activations_);
      const Tensor input = put(x, {t, k});
      const Tensor replacement = put(other, {t, n});
      const Tensor factors = put_f32(gain, {n});
      Tensor residual = put(before, {t, n});
      Tensor delta(backend_, activations_, {t, n});
      Tensor out(backend_, activations_, {t, n});
      stream_->linear(input.view(), *weight, delta.view());
      if (is_replaced) {
        stream_->copy(delta.view().data, replacement.view().data,
                      static_cast<size_t>(t * n) * size_of(activations_));
      }
      stream_->add_rms_norm(residual.view(), delta.view(), factors.view(), 1e-5F, out.view());

      Values wanted = is_replaced ? other : reference::linear(x, w, t, n, k);
      for (size_t i = 0; i < wanted.size(); ++i) wanted[i] += before[i];
      EXPECT_LT(relative_error(get(residual.view()), wanted), tolerance_) << t;
      EXPECT_LT(relative_error(get(out.view()), reference::rms_norm(wanted, gain, t, n, 1e-5)),
                2 * tolerance_)
          << t;
    }
  }
}

// A row of zeros has no direction: epsilon keeps it at zero.
TEST_P(RmsNormTest, ZeroStaysZero) {
  Tensor residual = put(Values(40), {1, 40});
  Tensor out(backend_, activations_, {1, 40});
  const Tensor gain = put_f32(Values(40, 1.0), {40});
  stream_->add_rms_norm(residual.view(), {}, gain.view(), 1e-5F, out.view());
  EXPECT_EQ(get(out.view()), Values(40));
}

TEST_P(RmsNormTest, RefusesShapesThatDiffer) {
  Tensor residual = put(Values(40), {1, 40});
  Tensor out(backend_, activations_, {1, 39});
  const Tensor gain = put_f32(Values(40, 1.0), {40});
  EXPECT_THROW(stream_->add_rms_norm(residual.view(), {}, gain.view(), 1e-5F, out.view()),
               BackendError);
}

OKAPI_FOR_EACH_BACKEND(RmsNormTest);

}  // namespace
}  // namespace okapi
