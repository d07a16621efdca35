#include <okapi/version.h>

#include "capi/src/guard.h"

using okapi::capi::guard_value;

uint32_t okapi_abi_version() {
  return guard_value(__func__, uint32_t{0},
                     [] { return (uint32_t{OKAPI_ABI_MAJOR} << 16U) | uint32_t{OKAPI_ABI_MINOR}; });
}

const char* okapi_version_string() {
  return guard_value(__func__, "", [] { return OKAPI_VERSION_STRING; });
}
