#include "runtime/model/permute_pairs.h"

#include <gtest/gtest.h>

#include <vector>

#include "runtime/base/error.h"

namespace okapi::test {
namespace {

constexpr int64_t kHeads = 2;
constexpr int64_t kHeadDim = 6;
constexpr int64_t kColumns = 3;

/// Row r holds r, r + 0.25, r + 0.5.
std::vector<float> numbered_rows() {
  std::vector<float> values;
  for (int row = 0; row < kHeads * kHeadDim; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      values.push_back(static_cast<float>(row) + 0.25F * static_cast<float>(column));
    }
  }
  return values;
}

ConstTensorView view_of(const std::vector<float>& values) {
  return {values.data(), DType::f32, {kHeads * kHeadDim, kColumns}};
}

std::vector<float> values_of(const HostTensor& tensor) {
  const auto* data = static_cast<const float*>(tensor.view().data);
  return {data, data + tensor.view().count()};
}

// giraffe.md 0.1: half-split row j is interleaved row 2j, half-split row j + 3 is interleaved row
// 2j + 1.
TEST(PermutePairsTest, MovesInterleavedRowsToTheirHalves) {
  const std::vector<float> rows = numbered_rows();
  const HostTensor result = permute_pairs(view_of(rows), kHeads, kHeadDim, PairLayout::interleaved,
                                          PairLayout::half_split);
  const int expected[] = {0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11};
  const std::vector<float> found = values_of(result);
  for (size_t row = 0; row < 12; ++row) {
    for (size_t column = 0; column < 3; ++column) {
      EXPECT_EQ(found[3 * row + column], rows[3 * static_cast<size_t>(expected[row]) + column]);
    }
  }
}

TEST(PermutePairsTest, BackAndForthIsTheSame) {
  const std::vector<float> rows = numbered_rows();
  const HostTensor there = permute_pairs(view_of(rows), kHeads, kHeadDim, PairLayout::half_split,
                                         PairLayout::interleaved);
  EXPECT_NE(values_of(there), rows);
  const HostTensor back = permute_pairs(there.view(), kHeads, kHeadDim, PairLayout::interleaved,
                                        PairLayout::half_split);
  EXPECT_EQ(values_of(back), rows);
  const HostTensor same = permute_pairs(view_of(rows), kHeads, kHeadDim, PairLayout::half_split,
                                        PairLayout::half_split);
  EXPECT_EQ(values_of(same), rows);
}

TEST(PermutePairsTest, RefusesShapesThatDoNotFit) {
  const std::vector<float> rows = numbered_rows();
  const auto permute = [](ConstTensorView view, int64_t n_heads, int64_t head_dim) {
    permute_pairs(view, n_heads, head_dim, PairLayout::half_split, PairLayout::interleaved);
  };
  EXPECT_THROW(permute(view_of(rows), 3, 6), Error);
  EXPECT_THROW(permute(view_of(rows), 4, 3), Error);
  EXPECT_THROW(permute({rows.data(), DType::f32, {36}}, 2, 6), Error);
}

}  // namespace
}  // namespace okapi::test
