/* The root object: plugins found, a backend opened, a log sink, a thread limit. There are no
 * process globals; two runtimes may live in one process and know nothing of each other.
 *
 *   okapi_runtime* runtime = NULL;
 *   okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
 *   options.n_threads = 2;
 *   if (okapi_runtime_create(&options, &runtime, &error) != OKAPI_OK) { ... }
 *   okapi_runtime_unref(runtime);
 */
#ifndef OKAPI_RUNTIME_H
#define OKAPI_RUNTIME_H

#include <okapi/error.h>
#include <okapi/log.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Calling fork() after a runtime was created is not supported: its worker threads stay behind.
typedef struct okapi_runtime okapi_runtime;

/// What a runtime is made of.
///
/// @since 0.1
typedef struct okapi_runtime_options {
  uint32_t struct_size;
  /// Most threads one call uses; 0: one per core. They are OpenMP's: where other programs use the
  /// cores too, set GOMP_SPINCOUNT=1000 in the environment of the process.
  int32_t n_threads;
  const char* backend;  ///< "cpu"; NULL or "": the best there is
  /// [n_plugin_paths] plugin files or folders, searched before OKAPI_PLUGIN_PATH and the installed
  /// ones; never the current directory.
  const char* const* plugin_paths;
  uint64_t n_plugin_paths;
  /// Folder with backends/, plugins/ and tokenizers/; NULL: beside libokapi.
  const char* module_path;
  okapi_log_sink log_sink;  ///< NULL: to stderr
  void* log_user_data;
  void (*log_destroy)(void* user_data);  ///< [callback] when the runtime goes; may be NULL
  int32_t log_level;                     ///< least level that reaches the sink; 0: OKAPI_LOG_WARN
  int32_t device_index;                  ///< which of several devices of the backend
  /// cudaStream_t of that device, to which sessions and trainers queue their work, in one order
  /// with what the caller queues there; NULL: streams of okapi's own. The default stream is
  /// cudaStreamLegacy, not 0; cudaStreamPerThread will not do. It outlives the runtime and all that
  /// is made from it, and is not being captured when okapi is called, unref included, which waits
  /// for it. Weights are loaded on the default stream, and are there on return. A backend without
  /// streams refuses it with OKAPI_UNAVAILABLE.
  void* device_stream;
} okapi_runtime_options;

#define OKAPI_RUNTIME_OPTIONS_INIT                                                               \
  {                                                                                              \
    OKAPI_STRUCT_SIZE(okapi_runtime_options, device_stream), 0, NULL, NULL, 0, NULL, NULL, NULL, \
        NULL, 0, 0, NULL                                                                         \
  }

/// Finds plugins (reading their metadata, running none of their code) and opens the backend.
///
/// @param options       borrowed for the call; NULL for defaults
/// @param[out] runtime  owned by the caller
/// @return OKAPI_OK; OKAPI_INVALID_ARGUMENT on an impossible option, OKAPI_NOT_FOUND if the
///         backend's module is missing, OKAPI_UNAVAILABLE if its device is. Plugins that cannot be
///         used are logged, and listed by okapi_runtime_plugins().
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_runtime_create(const okapi_runtime_options* options,
                                            okapi_runtime** runtime, okapi_error** error);

/// Takes another reference; returns its argument.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_runtime* okapi_runtime_ref(okapi_runtime* runtime);

/// Gives a reference back; NULL is allowed.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API void okapi_runtime_unref(okapi_runtime* runtime);

/// The effective options and the device, as a JSON object: version, backend, device, n_threads,
/// plugin_paths, log_level.
///
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_runtime_describe(const okapi_runtime* runtime, char* buffer,
                                              size_t capacity, size_t* needed, okapi_error** error);

/// A ceiling of the device, measured now under the runtime's thread limit.
///
/// @since 0.1
typedef struct okapi_measurement {
  uint32_t struct_size;
  uint8_t reserved[4];
  double value;     ///< FLOP/s of a matrix product, bytes/s of a bandwidth
  char kernel[64];  ///< what ran, in the library's own words
} okapi_measurement;

#define OKAPI_MEASUREMENT_INIT                                  \
  {                                                             \
    OKAPI_STRUCT_SIZE(okapi_measurement, kernel), {0}, 0, { 0 } \
  }

/// Times the product [m, k] x [k, n] with the weight laid out as the backend's library likes best.
///
/// @param dtype             OKAPI_DTYPE_F32 or OKAPI_DTYPE_BF16
/// @param[out] measurement  struct_size set by the caller; best of several repetitions
/// @return OKAPI_OK; OKAPI_INVALID_ARGUMENT on a size below 1; OKAPI_UNIMPLEMENTED on the dtype
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_runtime_measure_matmul(okapi_runtime* runtime, int64_t m, int64_t n,
                                                    int64_t k, int32_t dtype,
                                                    okapi_measurement* measurement,
                                                    okapi_error** error);

/// Times a prompt's causal attention to itself, as a layer of a model does it: in FLOP/s, 2
/// n_tokens^2 n_heads head_dim operations.
///
/// @param n_kv_heads        divides n_heads
/// @param head_dim          even, at most 256
/// @param dtype             of the weights beside it: OKAPI_DTYPE_F32 or OKAPI_DTYPE_BF16
/// @param[out] measurement  struct_size set by the caller; best of several repetitions
/// @return OKAPI_OK; OKAPI_INVALID_ARGUMENT on sizes that no model has; OKAPI_UNIMPLEMENTED on the
///         dtype; OKAPI_RESOURCE_EXHAUSTED
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_runtime_measure_attention(okapi_runtime* runtime, int64_t n_tokens,
                                                       int64_t n_heads, int64_t n_kv_heads,
                                                       int64_t head_dim, int32_t dtype,
                                                       okapi_measurement* measurement,
                                                       okapi_error** error);

/// Times reading `n_bytes` of memory once, from a buffer larger than any cache.
///
/// @param n_bytes           0: a size that suits the device
/// @param[out] measurement  struct_size set by the caller; best of several repetitions
/// @return OKAPI_OK; OKAPI_RESOURCE_EXHAUSTED
/// @note [thread-safe]
/// @since 0.1
OKAPI_API okapi_status okapi_runtime_measure_bandwidth(okapi_runtime* runtime, uint64_t n_bytes,
                                                       okapi_measurement* measurement,
                                                       okapi_error** error);

#ifdef __cplusplus
}
#endif

#endif
