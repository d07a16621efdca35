// Element types converted on the host, rounding to nearest even.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "backends/half.h"  // the other direction
#include "runtime/model/host_tensor.h"

namespace okapi {

uint16_t bf16_of_float(float value);
uint16_t f16_of_float(float value);  ///< infinite where f16 cannot hold it

/// A copy of `tensor` (contiguous; f32, f16 or bf16) as f32, f16 or bf16.
HostTensor converted(ConstTensorView tensor, DType dtype);

/// Throws out_of_range, naming tensor and file, if a value of `tensor` (contiguous f32) rounds to
/// no finite one of `dtype`.
void check_fits(const std::string& name, ConstTensorView tensor, DType dtype,
                const std::filesystem::path& file);

}  // namespace okapi
