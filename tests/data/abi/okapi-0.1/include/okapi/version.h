/* Which okapi this is.
 *
 *   printf("okapi %s, ABI %u.%u\n", okapi_version_string(),
 *          OKAPI_ABI_MAJOR_OF(okapi_abi_version()), OKAPI_ABI_MINOR_OF(okapi_abi_version()));
 */
#ifndef OKAPI_VERSION_H
#define OKAPI_VERSION_H

#include <okapi/api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ABI of these headers. While the major number is 0 a minor version may break the ABI; from 1 on
 * every change within a major is an addition. */
#define OKAPI_ABI_MAJOR 0
#define OKAPI_ABI_MINOR 1

#define OKAPI_ABI_MAJOR_OF(packed) ((packed) >> 16)
#define OKAPI_ABI_MINOR_OF(packed) ((packed)&0xffffu)

/// The ABI of the library that is running, major in the upper 16 bits, minor in the lower.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API uint32_t okapi_abi_version(void);

/// Version of the build, for instance "0.1.0". Static storage, never NULL.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API const char* okapi_version_string(void);

#ifdef __cplusplus
}
#endif

#endif
