// Which build this runtime is. A backend module of any other build is refused.
#pragma once

namespace okapi {

/// Version, compiler and a hash of the backend interface, see backends/CMakeLists.txt.
extern const char* const kBuildId;

}  // namespace okapi
