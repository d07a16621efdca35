/* A plugin: one shared library that exports one constant, okapi_plugin_entry_v1.
 *
 *   static const void* get_extension(void* state, const char* id);  // "okapi.rope/1" -> its table
 *   OKAPI_PLUGIN_ENTRY("org.example.rope.power", "power", "1.0", "Apache-2.0",
 *                      "inv_freq to a power", "okapi.rope/1",
 *                      "[{\"name\":\"exponent\",\"type\":\"number\",\"default\":0.5}]", NULL,
 *                      NULL, get_extension)
 *
 * The entry is data: okapi reads id, versions and declared parameters from the file without running
 * any of its code, and opens the library when a scheme, dataset or task of it is first used. It
 * stays mapped until the process ends. A plugin links nothing of okapi; what it may call arrives in
 * okapi_host (host.h). C++ writers start from rope.hpp, dataset.hpp or task.hpp instead.
 *
 * Rules that hold for every function of a plugin:
 * - It returns an okapi status (0 is OK) and, on failure, first says why through the error sink.
 * - It may be called from any thread. Calls on one instance never overlap, unless its table has a
 *   THREAD_SAFE flag and it is set; calls on different instances may.
 * - It keeps no pointer it was given after it returns, except where a line below says so.
 * - It never exits, aborts, prints, throws across this border, or reads the environment.
 * - Structs start with struct_size, the writer's sizeof. A reader uses a field only if it lies
 *   within.
 */
#ifndef OKAPI_PLUGIN_PLUGIN_H
#define OKAPI_PLUGIN_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The plugin ABI of these headers. A host loads a plugin if the major numbers are equal and its own
 * minor number is at least the one the plugin needs. */
#define OKAPI_PLUGIN_ABI_MAJOR 0
#define OKAPI_PLUGIN_ABI_MINOR 1
#define OKAPI_PLUGIN_HEADER "okapi 0.1"

/* "okapiplg" as bytes, the last letter first. */
#define OKAPI_PLUGIN_MAGIC UINT64_C(0x6F6B617069706C67)

/* What plugin functions return: values of okapi_status in <okapi/error.h>. */
#define OKAPI_OK 0
#define OKAPI_CANCELLED 1
#define OKAPI_UNKNOWN 2
#define OKAPI_INVALID_ARGUMENT 3
#define OKAPI_NOT_FOUND 5
#define OKAPI_RESOURCE_EXHAUSTED 8
#define OKAPI_FAILED_PRECONDITION 9
#define OKAPI_OUT_OF_RANGE 11
#define OKAPI_UNIMPLEMENTED 12
#define OKAPI_INTERNAL 13

typedef struct okapi_host okapi_host; /* host.h */

/// Where a failing plugin function says why. Borrowed for the call.
///
///   sink->report(sink, "exponent", "must not be negative");  return OKAPI_INVALID_ARGUMENT;
///
/// @since 0.1
typedef struct okapi_error_sink {
  uint32_t struct_size;
  uint32_t reserved;
  void* context;  ///< the host's
  /// `field` is the parameter or field at fault, or NULL; `message` says what was wanted and what
  /// was found. Both are copied. The last report of a call counts. [thread-safe]
  void (*report)(const struct okapi_error_sink* sink, const char* field, const char* message);
} okapi_error_sink;

/* Types of parameters. */
#define OKAPI_PARAM_NUMBER 1  /* a finite double */
#define OKAPI_PARAM_INTEGER 2 /* int64 */
#define OKAPI_PARAM_STRING 3  /* UTF-8 */
#define OKAPI_PARAM_BOOLEAN 4
#define OKAPI_PARAM_ENUM 5 /* a string, one of the declared choices */
#define OKAPI_PARAM_LIST 6 /* of numbers */

/* Where a value came from. */
#define OKAPI_PARAM_UNSET 0   /* declared without a default, and not given: there is no value */
#define OKAPI_PARAM_GIVEN 1   /* by the user */
#define OKAPI_PARAM_MODEL 2   /* a fact of the model (from_model) */
#define OKAPI_PARAM_DEFAULT 3 /* the declaration's default */

/// One checked parameter. Frozen: never grows in ABI major 0.
///
/// @since 0.1
typedef struct okapi_param {
  const char* name;       ///< as declared
  int32_t type;           ///< OKAPI_PARAM_NUMBER .. OKAPI_PARAM_LIST
  int32_t source;         ///< OKAPI_PARAM_UNSET .. OKAPI_PARAM_DEFAULT
  double number;          ///< NUMBER, and INTEGER converted; else 0
  int64_t integer;        ///< INTEGER; BOOLEAN as 0 or 1; else 0
  const char* text;       ///< STRING and ENUM, NUL-terminated; else ""
  const double* numbers;  ///< LIST [n_numbers]; else NULL
  int64_t n_numbers;
} okapi_param;

/// All declared parameters, checked against the declaration and filled in. Borrowed for the call.
///
/// @since 0.1
typedef struct okapi_params {
  uint32_t struct_size;
  uint32_t n_values;
  const okapi_param* values;  ///< [n_values], in the order of the declaration
  const char* json;  ///< the same as one JSON object, keys in that order; unset ones left out
  /// The parameter of that name, or NULL if none is declared. [thread-safe]
  const okapi_param* (*find)(const struct okapi_params* params, const char* name);
} okapi_params;

/// What the library exports, under the name okapi_plugin_entry_v1, in read-only data. Character
/// arrays are UTF-8 and NUL-terminated; the host refuses a plugin whose arrays are not.
///
/// `parameters` is a JSON array of objects, one per parameter, keys:
///
///   name        letters, digits and '_'
///   type        "number", "integer", "string", "boolean", "enum" or "list" (of numbers)
///   help        one line: meaning and unit
///   default     the value when none is given; without it the parameter may stay unset
///   required    true: it must be given
///   min, max    smallest and largest value allowed (list: of each element)
///   above,below exclusive bounds
///   choices     for enum: array of strings
///   from_model  the default is a fact of the model: "base", "trained_length", "target_length",
///               "head_dim", "rotary_dim" or "length_ratio" (target / trained length, at least 1);
///               for schemes only. A user may write `auto` for it.
///
/// Keys a user gives that are not declared are refused by the host, which lists the declared ones.
///
/// @since 0.1
typedef struct okapi_plugin_entry {
  uint32_t struct_size;
  uint32_t abi_major;
  uint64_t magic;             ///< OKAPI_PLUGIN_MAGIC
  uint32_t abi_minor_needed;  ///< oldest minor the plugin can live with
  uint32_t reserved;          ///< 0
  char built_with[32];        ///< OKAPI_PLUGIN_HEADER of the headers it was compiled with
  char id[128];               ///< unique: reversed domain, kind, name: "org.example.rope.power"
  char name[64];              ///< short name, used in specs: letters, digits, '_' and '-'
  char version[32];           ///< "1.2.0"; goes into reports
  char license[64];           ///< SPDX expression
  char summary[256];          ///< one line
  char extensions[128];       ///< extension points offered, separated by blanks: "okapi.rope/1"
  char parameters[8192];      ///< declared parameters; "[]" if none

  /// Called before anything else, once per host that loads the library (a process may hold two
  /// hosts); may be NULL. `host` lives until deinit returns. *state is given to deinit,
  /// get_extension and the extension's create or open.
  int32_t (*init)(const okapi_host* host, void** state, const okapi_error_sink* sink);

  /// Called once per init that succeeded, when its host has gone and nothing made under it is in
  /// use; may be NULL.
  void (*deinit)(void* state);

  /// The table of an extension point named in `extensions`, as okapi_rope_scheme_v1 for
  /// "okapi.rope/1"; NULL if there is none. Valid until deinit.
  const void* (*get_extension)(void* state, const char* id);
} okapi_plugin_entry;

#define OKAPI_PLUGIN_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
#define OKAPI_PLUGIN_C_LINKAGE extern "C"
#else
#define OKAPI_PLUGIN_C_LINKAGE
#endif

/// The one symbol of a plugin. Declared here so that its linkage is the same in C and C++.
extern OKAPI_PLUGIN_EXPORT const okapi_plugin_entry okapi_plugin_entry_v1;

/// Defines the entry. Once per library, at file scope; no semicolon needed.
#define OKAPI_PLUGIN_ENTRY(id, name, version, license, summary, extensions, parameters, init,   \
                           deinit, get_extension)                                               \
  OKAPI_PLUGIN_C_LINKAGE OKAPI_PLUGIN_EXPORT const okapi_plugin_entry okapi_plugin_entry_v1 = { \
      (uint32_t)sizeof(okapi_plugin_entry),                                                     \
      OKAPI_PLUGIN_ABI_MAJOR,                                                                   \
      OKAPI_PLUGIN_MAGIC,                                                                       \
      OKAPI_PLUGIN_ABI_MINOR,                                                                   \
      0,                                                                                        \
      OKAPI_PLUGIN_HEADER,                                                                      \
      id,                                                                                       \
      name,                                                                                     \
      version,                                                                                  \
      license,                                                                                  \
      summary,                                                                                  \
      extensions,                                                                               \
      parameters,                                                                               \
      init,                                                                                     \
      deinit,                                                                                   \
      get_extension};

#ifdef __cplusplus
}
#endif

#endif
