#include "tests/backends/backend_test.h"

namespace okapi {
namespace {

class SwigluTest : public BackendTest {};

TEST_P(SwigluTest, GatesTheUpperHalf) {
  for (const int64_t t : {1, 3, 65}) {
    for (const int64_t n : {1, 7, 34, 704}) {
      const Values gate_up = random(t * 2 * n, 4.0);
      const Tensor input = put(gate_up, {t, 2 * n});
      Tensor out(backend_, activations_, {t, n});
      stream_->swiglu(input.view(), out.view());
      EXPECT_LT(relative_error(get(out.view()), reference::swiglu(gate_up, t, n)), tolerance_)
          << t << " x " << n;
    }
  }
}

// silu(x) tends to x above and to 0 below; neither end overflows.
TEST_P(SwigluTest, HoldsAtTheEnds) {
  const Values gate_up = {0, 20, 100, 30000, -20, -80, -100, -30000, 1, 1, 1, 1, 1, 1, 1, 1};
  const Tensor input = put(gate_up, {1, 16});
  Tensor out(backend_, activations_, {1, 8});
  stream_->swiglu(input.view(), out.view());
  const Values got = get(out.view());
  const Values wanted = reference::swiglu(gate_up, 1, 8);
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_NEAR(got[i], wanted[i], std::abs(wanted[i]) * tolerance_ + 1e-30) << gate_up[i];
  }
}

OKAPI_FOR_EACH_BACKEND(SwigluTest);

}  // namespace
}  // namespace okapi
