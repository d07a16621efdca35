#include "runtime/model/convert.h"

#include <bit>
#include <cmath>
#include <limits>

#include "runtime/base/error.h"
#include "runtime/model/safetensors.h"

namespace okapi {

namespace {

/// A tensor of the same shape; HostTensor takes its shape as a list.
HostTensor same_shape(ConstTensorView tensor, DType dtype) {
  const int64_t* shape = tensor.shape;
  switch (tensor.rank) {
    case 1:
      return HostTensor(dtype, {shape[0]});
    case 2:
      return HostTensor(dtype, {shape[0], shape[1]});
    default:
      throw Error(Code::internal, "weights have one or two dimensions").in("model");
  }
}

}  // namespace

uint16_t bf16_of_float(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40;  // stays a NaN
  return static_cast<uint16_t>(std::isnan(value) ? nan : rounded);
}

uint16_t f16_of_float(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<uint16_t>(sign | 0x7E00);
  if (magnitude >= 65520.0F)
    return static_cast<uint16_t>(sign | 0x7C00);  // past half of the last step
  if (magnitude < 0x1p-14F) {
    // Subnormal: a multiple of 2^-24. The product is exact, and nearbyint rounds to even.
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24F)));
  }
  // Drop 13 of 23 bits of the fraction, to nearest even, and move the exponent's bias from 127
  // to 15.
  const uint32_t absolute = bits & 0x7FFFFFFF;
  const uint32_t rounded = absolute + 0xFFF + (absolute >> 13 & 1);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - (112U << 10)));
}

namespace {

/// What a model's weights take: a loop for each pair of dtypes, which the compiler makes vectors
/// of.
template <typename Read>
void convert_all(int64_t count, const Read& read, DType dtype, void* out) {
  if (dtype == DType::f32) {
    auto* const to = static_cast<float*>(out);
    for (int64_t i = 0; i < count; ++i) to[i] = read(i);
  } else if (dtype == DType::f16) {
    auto* const to = static_cast<uint16_t*>(out);
    for (int64_t i = 0; i < count; ++i) to[i] = f16_of_float(read(i));
  } else {
    auto* const to = static_cast<uint16_t*>(out);
    for (int64_t i = 0; i < count; ++i) to[i] = bf16_of_float(read(i));
  }
}

}  // namespace

HostTensor converted(ConstTensorView tensor, DType dtype) {
  HostTensor result = same_shape(tensor, dtype);
  void* const out = result.view().data;
  const int64_t count = tensor.count();
  const auto* const words = static_cast<const uint16_t*>(tensor.data);
  const auto* const floats = static_cast<const float*>(tensor.data);
  switch (tensor.dtype) {
    case DType::f32:
      convert_all(
          count, [=](int64_t i) { return floats[i]; }, dtype, out);
      break;
    case DType::f16:
      convert_all(
          count, [=](int64_t i) { return float_of_f16(words[i]); }, dtype, out);
      break;
    case DType::bf16:
      convert_all(
          count, [=](int64_t i) { return float_of_bf16(words[i]); }, dtype, out);
      break;
    default:
      throw Error(Code::internal, "only f32, f16 and bf16 tensors are converted").in("model");
  }
  return result;
}

void check_fits(const std::string& name, ConstTensorView tensor, DType dtype,
                const std::filesystem::path& file) {
  // The least magnitude that rounds to infinity: half a unit above the largest number.
  const float too_much = dtype == DType::f16    ? 65520.0F
                         : dtype == DType::bf16 ? 0x1.FFp127F
                                                : std::numeric_limits<float>::infinity();
  const auto* data = static_cast<const float*>(tensor.data);
  for (int64_t i = 0; i < tensor.count(); ++i) {
    if (std::fabs(data[i]) < too_much) continue;  // and no NaN
    throw Error(Code::out_of_range,
                name + ": " + std::to_string(data[i]) + " does not fit " + safetensors_name(dtype))
        .in("model")
        .field(name)
        .at(file.string());
  }
}

}  // namespace okapi
