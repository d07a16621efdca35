/* Where a runtime's messages go. Each runtime has its own sink; records arrive whole.
 *
 *   static void on_log(const okapi_log_record* record, void* user_data) {
 *     fprintf((FILE*)user_data, "%s: %s\n", record->component, record->message);
 *   }
 *   okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
 *   options.log_sink = on_log; options.log_user_data = stderr; options.log_level = OKAPI_LOG_INFO;
 */
#ifndef OKAPI_LOG_H
#define OKAPI_LOG_H

#include <okapi/api.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OKAPI_LOG_DEFAULT 0 /* as OKAPI_LOG_WARN */
#define OKAPI_LOG_TRACE 1
#define OKAPI_LOG_DEBUG 2
#define OKAPI_LOG_INFO 3
#define OKAPI_LOG_WARN 4
#define OKAPI_LOG_ERROR 5
#define OKAPI_LOG_SILENT 6

/// One fact of a record, as text.
///
/// @since 0.1
typedef struct okapi_log_field {
  const char* key;
  const char* value;
} okapi_log_field;

/// One message. Everything it points to is borrowed for the call of the sink.
///
/// @since 0.1
typedef struct okapi_log_record {
  uint32_t struct_size;
  int32_t level;          ///< OKAPI_LOG_TRACE .. OKAPI_LOG_ERROR
  const char* component;  ///< "plugin_host", "model", "rope.yarn"
  const char* message;
  uint64_t time_ns;  ///< wall clock, nanoseconds since 1970
  uint64_t thread_id;
  const okapi_log_field* fields;  ///< [n_fields]
  uint64_t n_fields;
} okapi_log_record;

/// Receives records. [callback] Called from any thread, also from several at once; must not call
/// okapi.
///
/// @since 0.1
typedef void (*okapi_log_sink)(const okapi_log_record* record, void* user_data);

#ifdef __cplusplus
}
#endif

#endif
