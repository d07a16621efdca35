#include "tests/backends/backend_test.h"

namespace okapi {
namespace {

class ArgmaxTest : public BackendTest {
 protected:
  std::vector<int32_t> argmax(const Values& x, int64_t rows, int64_t n) {
    const Tensor input = put(x, {rows, n});
    Tensor ids(backend_, DType::i32, {rows});
    stream_->argmax(input.view(), ids.view());
    std::vector<int32_t> got(static_cast<size_t>(rows));
    stream_->download(got.data(), ids.view().data, got.size() * sizeof(int32_t));
    stream_->synchronize();
    return got;
  }
};

TEST_P(ArgmaxTest, FindsTheLargestOfEachRow) {
  for (const int64_t n : {1, 2, 7, 64, 1000, 49152}) {
    const Values x = random(5 * n);
    std::vector<int32_t> wanted;
    for (int64_t row = 0; row < 5; ++row)
      wanted.push_back(static_cast<int32_t>(reference::argmax(&x[row * n], n)));
    EXPECT_EQ(argmax(x, 5, n), wanted) << n;
  }
}

TEST_P(ArgmaxTest, TakesTheLowestOnATie) {
  Values x(100, -1.0);
  x[17] = x[61] = x[99] = 2.0;
  EXPECT_EQ(argmax(x, 1, 100), std::vector<int32_t>{17});
  EXPECT_EQ(argmax(Values(33, 0.0), 1, 33), std::vector<int32_t>{0});
}

OKAPI_FOR_EACH_BACKEND(ArgmaxTest);

}  // namespace
}  // namespace okapi
