// OKAPI_DTYPE_* as the engine's.
#pragma once

#include <cstdint>
#include <optional>

#include "runtime/model/host_tensor.h"

namespace okapi::capi {

/// None for OKAPI_DTYPE_DEFAULT. Throws invalid_argument naming the field on any other number.
std::optional<DType> dtype_of(int32_t dtype, const char* name);

}  // namespace okapi::capi
