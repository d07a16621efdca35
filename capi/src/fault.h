// Where the tests make entry points fail. In the product this is nothing at all.
#pragma once

#if defined(OKAPI_FAULT_INJECTION)
#include <okapi/api.h>

#define OKAPI_FAULT_NONE 0
#define OKAPI_FAULT_THROW 1  // a std::runtime_error
#define OKAPI_FAULT_BAD_ALLOC 2
#define OKAPI_FAULT_FOREIGN 3  // something that is no std::exception

/// The next entry point that is called fails so; once. Only the test's build of capi/src has this.
extern "C" OKAPI_API void okapi_fault_arm(int32_t fault);

/// The entry point the fault struck, or "" if none was called since it was armed.
extern "C" OKAPI_API const char* okapi_fault_struck(void);
#endif

namespace okapi::capi {

#if defined(OKAPI_FAULT_INJECTION)
void fault_point(const char* function);
#else
inline void fault_point(const char*) {}
#endif

}  // namespace okapi::capi
