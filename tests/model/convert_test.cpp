#include "runtime/model/convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <utility>

namespace okapi {
namespace {

TEST(ConvertTest, HalfPrecisionReadsAsItsDefinition) {
  // IEEE 754 binary16: sign, five bits of exponent, ten of fraction.
  EXPECT_EQ(float_of_f16(0x3C00), 1.0F);
  EXPECT_EQ(float_of_f16(0xC000), -2.0F);
  EXPECT_EQ(float_of_f16(0x7BFF), 65504.0F);
  EXPECT_EQ(float_of_f16(0x0001), 0x1p-24F);
  EXPECT_EQ(float_of_f16(0x0400), 0x1p-14F);
  EXPECT_TRUE(std::signbit(float_of_f16(0x8000)));
  EXPECT_TRUE(std::isinf(float_of_f16(0x7C00)));
  EXPECT_TRUE(std::isnan(float_of_f16(0x7C01)));
}

TEST(ConvertTest, Bf16RoundsToNearestEven) {
  EXPECT_EQ(bf16_of_float(1.0F), 0x3F80);
  EXPECT_EQ(bf16_of_float(std::bit_cast<float>(0x3F808000U)), 0x3F80);  // a tie goes to even, down
  EXPECT_EQ(bf16_of_float(std::bit_cast<float>(0x3F818000U)), 0x3F82);  // and up
  EXPECT_EQ(bf16_of_float(std::bit_cast<float>(0x3F808001U)), 0x3F81);
  EXPECT_EQ(bf16_of_float(INFINITY), 0x7F80);
  EXPECT_TRUE(std::isnan(float_of_bf16(bf16_of_float(NAN))));
  EXPECT_EQ(float_of_bf16(0x4049), 3.140625F);
}

TEST(ConvertTest, TensorsKeepTheirShape) {
  const float values[] = {1, -2.5F, 0.1F, 1e30F, 0, 7};
  const HostTensor narrow = converted(ConstTensorView(values, DType::f32, {2, 3}), DType::bf16);
  EXPECT_EQ(narrow.view().dtype, DType::bf16);
  EXPECT_EQ(narrow.view().rank, 2);
  EXPECT_EQ(narrow.view().shape[1], 3);
  const HostTensor wide = converted(narrow.view(), DType::f32);
  const auto* found = static_cast<const float*>(wide.view().data);
  for (size_t i = 0; i < 6; ++i) EXPECT_NEAR(found[i], values[i], std::fabs(values[i]) * 0x1p-8F);
}

}  // namespace
}  // namespace okapi
