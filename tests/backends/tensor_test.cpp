#include "runtime/device/tensor.h"

#include <limits>
#include <new>
#include <utility>

#include "tests/backends/backend_test.h"

namespace okapi {
namespace {

TEST(TensorTest, OwnsAlignedMemoryOfItsShape) {
  const auto backend = open_for_test("cpu");
  Tensor tensor(backend, DType::bf16, {3, 5});
  EXPECT_EQ(tensor.bytes(), 30U);
  EXPECT_EQ(tensor.view().strides[0], 5);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.view().data) % 64, 0U);
  EXPECT_NO_THROW(Tensor(backend, DType::f32, {0, 5}));
}

TEST(TensorTest, MovesWithoutCopying) {
  const auto backend = open_for_test("cpu");
  Tensor first(backend, DType::f32, {4});
  const void* const memory = first.view().data;
  Tensor second(std::move(first));
  EXPECT_EQ(second.view().data, memory);
  Tensor third(backend, DType::f32, {2});
  third = std::move(second);
  EXPECT_EQ(third.view().data, memory);
  EXPECT_EQ(third.view().shape[0], 4);
}

TEST(TensorTest, GivesRowsOfItself) {
  Tensor tensor(open_for_test("cpu"), DType::f32, {6, 10});
  const TensorView rows = tensor.rows(2, 3);
  EXPECT_EQ(static_cast<float*>(rows.data) - static_cast<float*>(tensor.view().data), 20);
  EXPECT_EQ(rows.shape[0], 3);
  EXPECT_THROW(tensor.rows(4, 3), Error);
  EXPECT_THROW(tensor.rows(-1, 3), Error);
}

TEST(TensorTest, RefusesSizesThatCannotBe) {
  const auto backend = open_for_test("cpu");
  EXPECT_THROW(Tensor(backend, DType::f32, {-1}), Error);
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max() / 2;
  EXPECT_THROW(Tensor(backend, DType::f32, {kHuge, kHuge}), std::bad_alloc);
  EXPECT_THROW(Tensor(backend, DType::f32, {kHuge}), std::bad_alloc);
}

}  // namespace
}  // namespace okapi
