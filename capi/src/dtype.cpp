#include "capi/src/dtype.h"

#include <okapi/api.h>

#include <string>

#include "capi/src/guard.h"

namespace okapi::capi {

std::optional<DType> dtype_of(int32_t dtype, const char* name) {
  switch (dtype) {
    case OKAPI_DTYPE_DEFAULT:
      return std::nullopt;
    case OKAPI_DTYPE_F32:
      return DType::f32;
    case OKAPI_DTYPE_F16:
      return DType::f16;
    case OKAPI_DTYPE_BF16:
      return DType::bf16;
    default:
      refuse(name, ("must be OKAPI_DTYPE_*, is " + std::to_string(dtype)).c_str());
  }
}

}  // namespace okapi::capi
