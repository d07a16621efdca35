#include "runtime/device/build_id.h"

#include "okapi_build_id.h"

namespace okapi {

const char* const kBuildId = OKAPI_BUILD_ID;

}  // namespace okapi
