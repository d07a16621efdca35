#include "tests/backends/backend_test.h"

namespace okapi {
namespace {

class EmbedTest : public BackendTest {};

// Rows are copied: what comes back is the stored number, rounded to the dtype of activations.
TEST_P(EmbedTest, GivesTheRowsOfTheTable) {
  struct Kind {
    DType stored;
    DType keep;
  };
  for (const Kind kind : {Kind{DType::f32, DType::f32}, Kind{DType::f16, DType::f32},
                          Kind{DType::bf16, DType::f32}, Kind{DType::bf16, DType::bf16}}) {
    for (const int64_t columns : {1, 31, 34, 64, 100, 576}) {
      const int64_t rows = 7;
      const Values table = random_(rows * columns, 1.0, kind.stored);
      const auto weight = prepare(table, rows, columns, kind.stored, kind.keep);
      EXPECT_EQ(weight->dtype, kind.keep);
      EXPECT_GE(weight->bytes, static_cast<size_t>(rows * columns) * size_of(kind.keep));
      const std::vector<int32_t> ids = {6, 0, 3, 3};
      Tensor out(backend_, activations_, {4, columns});
      stream_->embed(*weight, ids, out.view());
      Values wanted;
      for (int32_t id : ids) {
        for (int64_t i = 0; i < columns; ++i)
          wanted.push_back(rounded(table[id * columns + i], activations_));
      }
      EXPECT_EQ(get(out.view()), wanted) << columns;
    }
  }
}

TEST_P(EmbedTest, RowBlocksFollowOneAnother) {
  const Values first = random_(2 * 6);
  const Values second = random_(3 * 6);
  const std::vector<std::byte> first_bytes = encode(first, DType::f32);
  const std::vector<std::byte> second_bytes = encode(second, DType::f32);
  const ConstTensorView blocks[] = {{first_bytes.data(), DType::f32, {2, 6}},
                                    {second_bytes.data(), DType::f32, {3, 6}}};
  const auto weight = backend_->prepare_weight(blocks, DType::f32);
  EXPECT_EQ(weight->rows, 5);
  EXPECT_EQ(weight->columns, 6);
  const std::vector<int32_t> ids = {1, 2};
  Tensor out(backend_, activations_, {2, 6});
  stream_->embed(*weight, ids, out.view());
  Values wanted(first.begin() + 6, first.end());
  wanted.insert(wanted.end(), second.begin(), second.begin() + 6);
  for (double& value : wanted) value = rounded(value, activations_);
  EXPECT_EQ(get(out.view()), wanted);
}

// Smallest subnormal, largest subnormal, smallest normal, largest number, both signs: by the f16
// format.
TEST_P(EmbedTest, WidensEveryKindOfF16) {
  const Values table = {0x1p-24, 1023 * 0x1p-24, 0x1p-14, 65504, 0, -0x1p-24, -65504, -1.5};
  const auto weight = prepare(table, 1, 8, DType::f16, DType::f32);
  Tensor out(backend_, activations_, {1, 8});
  stream_->embed(*weight, std::vector<int32_t>{0}, out.view());
  Values wanted = table;
  for (double& value : wanted) value = rounded(value, activations_);
  EXPECT_EQ(get(out.view()), wanted);
}

TEST_P(EmbedTest, RefusesWhatDoesNotFit) {
  const auto weight = prepare(random_(12), 3, 4, DType::f32, DType::f32);
  Tensor out(backend_, activations_, {1, 4});
  EXPECT_THROW(stream_->embed(*weight, std::vector<int32_t>{3}, out.view()), BackendError);
  EXPECT_THROW(stream_->embed(*weight, std::vector<int32_t>{-1}, out.view()), BackendError);
  EXPECT_THROW(stream_->embed(*weight, std::vector<int32_t>{0, 1}, out.view()), BackendError);
  EXPECT_THROW(prepare(random_(12), 3, 4, DType::f32, DType::bf16), BackendError);
  EXPECT_THROW(prepare(random_(12), 3, 4, DType::f32, DType::i32), BackendError);
  EXPECT_THROW(backend_->prepare_weight({}, DType::f32), BackendError);
}

OKAPI_FOR_EACH_BACKEND(EmbedTest);

}  // namespace
}  // namespace okapi
