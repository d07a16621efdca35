// What the tests of operations share. Each runs over every backend this build has, by name; a
// backend with several sets of kernels appears once per set that the processor runs.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/device/backend_loader.h"
#include "runtime/device/tensor.h"
#include "tests/support/reference_ops.h"

namespace okapi {

using reference::Values;

/// "cpu" or "cpu:avx2", from OKAPI_TEST_BACKENDS, which tests/backends/CMakeLists.txt sets.
std::vector<std::string> tested_backends();
std::string test_name(const ::testing::TestParamInfo<std::string>& info);

std::shared_ptr<Backend> open_for_test(const std::string& name_and_variant, int n_threads = 2);

/// The f32 nearest to a value as the dtype holds it, so that the oracle sees what the backend sees.
double rounded(double value, DType dtype);

/// Numbers of about the size activations have, the same in every run.
class RandomValues {
 public:
  explicit RandomValues(uint32_t seed = 1) : engine_(seed) {}
  Values operator()(int64_t count, double scale = 1.0, DType dtype = DType::f32);
  int64_t below(int64_t n) { return static_cast<int64_t>(engine_() % static_cast<uint64_t>(n)); }

 private:
  std::mt19937 engine_;
};

/// Norm of the difference over norm of the oracle; infinite when something is not finite.
double relative_error(const Values& got, const Values& wanted);

/// Root mean square of the difference, for results whose own size may be near 0 by cancellation;
/// NaN when something is.
double error_per_element(const Values& got, const Values& wanted);

/// 32 units in the last place of the activation dtype: results are sums of up to some thousand
/// products of random sign, whose error grows with the square root of their number (sqrt(1000)
/// ulp), and the vector chains of the kernels stay well below that. A wrong element, or a missing
/// one, is off by orders more.
double tolerance(DType activations);

class BackendTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    try {
      backend_ = open_for_test(GetParam());
    } catch (const Error& e) {
      // A set of kernels this processor lacks. The plain name must open everywhere.
      if (GetParam().find(':') == std::string::npos) throw;
      GTEST_SKIP() << e.message();
    }
    stream_ = backend_->create_stream();
    activations_ = backend_->activation_dtype();
    tolerance_ = tolerance(activations_);
  }

  /// Host values into backend memory of the given dtype (by default that of activations), and back.
  Tensor put(const Values& values, std::initializer_list<int64_t> shape);
  Tensor put_f32(const Values& values, std::initializer_list<int64_t> shape);
  Values get(const ConstTensorView& view);

  /// A weight in host memory and its oracle's values.
  std::unique_ptr<PreparedWeight> prepare(const Values& values, int64_t rows, int64_t columns,
                                          DType stored, DType keep);

  Values random(int64_t count, double scale = 1.0) { return random_(count, scale, activations_); }

  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
  DType activations_ = DType::f32;
  double tolerance_ = 0;
  RandomValues random_;
};

/// Host memory of `values` in the dtype.
std::vector<std::byte> encode(const Values& values, DType dtype);
Values decode(const std::vector<std::byte>& bytes, DType dtype);

#define OKAPI_FOR_EACH_BACKEND(suite) \
  INSTANTIATE_TEST_SUITE_P(Backends, suite, ::testing::ValuesIn(tested_backends()), test_name)

}  // namespace okapi
