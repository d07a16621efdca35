/* Static assertions on structs that others were compiled with, in C99. */
#ifndef OKAPI_TESTS_CAPI_LAYOUT_H
#define OKAPI_TESTS_CAPI_LAYOUT_H

#include <stddef.h>

#define CONCAT(a, b) a##b
#define NAME_OF_LINE(line) CONCAT(frozen_, line)
#define STATIC_ASSERT(condition) typedef char NAME_OF_LINE(__LINE__)[(condition) ? 1 : -1]

#define SIZE(type, bytes) STATIC_ASSERT(sizeof(type) == (bytes))
#define FIELD(type, field, offset, bytes) \
  STATIC_ASSERT(offsetof(type, field) == (offset) && sizeof(((type*)0)->field) == (bytes))

#endif
