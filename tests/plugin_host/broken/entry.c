/* Entries that a host must refuse: of another ABI, damaged, or none. Running this plugin ends the
 * process, which shows that nothing of it is run to find that out. */

#include <stddef.h>

#include <okapi/plugin/plugin.h>

#if defined(FAULT_NO_SYMBOL)

extern OKAPI_PLUGIN_EXPORT const int okapi_something_else;
const int okapi_something_else = 1;

#elif defined(FAULT_FUNCTION)

/* The header's declaration must not see this one. */
OKAPI_PLUGIN_EXPORT void okapi_entry_as_function(void) __asm__("okapi_plugin_entry_v1");
void okapi_entry_as_function(void) {}

#else

__attribute__((constructor)) static void run(void) { __builtin_trap(); }

#if defined(FAULT_MAGIC)
#define MAGIC UINT64_C(0x1234)
#else
#define MAGIC OKAPI_PLUGIN_MAGIC
#endif

#if defined(FAULT_MAJOR)
#define MAJOR 7
#else
#define MAJOR OKAPI_PLUGIN_ABI_MAJOR
#endif

#if defined(FAULT_MINOR)
#define MINOR 99
#else
#define MINOR OKAPI_PLUGIN_ABI_MINOR
#endif

#if defined(FAULT_SIZE)
#define SIZE 100
#else
#define SIZE (uint32_t)sizeof(okapi_plugin_entry)
#endif

#if defined(FAULT_NAME)
#define NAME "no blanks please"
#else
#define NAME "trap"
#endif

#if defined(FAULT_UTF8)
#define SUMMARY "caf\xe9"
#else
#define SUMMARY "ends the process when it is loaded"
#endif

#if defined(FAULT_BSS)
/* Not constant: its bytes are not in the file. */
OKAPI_PLUGIN_EXPORT char okapi_entry_in_bss[9000] __asm__("okapi_plugin_entry_v1");
char okapi_entry_in_bss[9000];
#else
const okapi_plugin_entry okapi_plugin_entry_v1 = {
    SIZE,
    MAJOR,
    MAGIC,
    MINOR,
    0,
    "okapi 9.9",
    "org.example.rope.trap",
    NAME,
    "1.0",
#if defined(FAULT_UNENDED)
    {'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x',
     'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x',
     'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x',
     'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x'},
#else
    "Apache-2.0",
#endif
    SUMMARY,
    "okapi.rope/1",
    "[]",
    NULL,
    NULL,
    NULL};
#endif
#endif
