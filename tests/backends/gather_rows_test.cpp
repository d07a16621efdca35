#include "tests/backends/backend_test.h"

namespace okapi {
namespace {

class GatherRowsTest : public BackendTest {};

TEST_P(GatherRowsTest, PacksTheRowsNamed) {
  const Values x = random(5 * 34);
  const Tensor input = put(x, {5, 34});
  Tensor out(backend_, activations_, {3, 34});
  stream_->gather_rows(input.view(), std::vector<int64_t>{4, 0, 4}, out.view());
  Values wanted(x.begin() + 4 * 34, x.end());
  wanted.insert(wanted.end(), x.begin(), x.begin() + 34);
  wanted.insert(wanted.end(), x.begin() + 4 * 34, x.end());
  EXPECT_EQ(get(out.view()), wanted);
}

TEST_P(GatherRowsTest, RefusesARowThatIsNotThere) {
  const Tensor input = put(random(5 * 34), {5, 34});
  Tensor out(backend_, activations_, {1, 34});
  EXPECT_THROW(stream_->gather_rows(input.view(), std::vector<int64_t>{5}, out.view()),
               BackendError);
  EXPECT_THROW(stream_->gather_rows(input.view(), std::vector<int64_t>{-1}, out.view()),
               BackendError);
}

OKAPI_FOR_EACH_BACKEND(GatherRowsTest);

}  // namespace
}  // namespace okapi
