#include <okapi/runtime.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "capi/src/field_ends.h"
#include "capi/src/log.h"
#include "capi/src/objects.h"
#include "capi/src/options.h"
#include "capi/src/text_out.h"
#include "runtime/device/measure_attention.h"
#include "runtime/runtime_context.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

namespace {

constexpr int32_t kMaxThreads = 4096;
constexpr int32_t kMaxDevices = 1024;
constexpr uint64_t kMaxPluginPaths = 65536;
constexpr int64_t kMaxMatmulSize = int64_t{1} << 20;
constexpr int64_t kMaxMeasuredTokens = int64_t{1} << 20;
constexpr int64_t kMaxMeasuredHeads = 1024;
constexpr int64_t kMaxMeasuredHeadDim = 256;
constexpr size_t kReadBytes = size_t{512} << 20;  // more than the caches of any one socket

okapi::RuntimeOptions engine_options(const okapi_runtime_options& given,
                                     std::shared_ptr<okapi::Logger> logger) {
  check_range(given.n_threads, 0, kMaxThreads, "options.n_threads");
  check_range(given.device_index, 0, kMaxDevices, "options.device_index");
  if (given.n_plugin_paths > kMaxPluginPaths) refuse("options.n_plugin_paths", "is out of reason");
  require_array(given.plugin_paths, given.n_plugin_paths, "options.plugin_paths");

  okapi::RuntimeOptions options;
  options.n_threads = given.n_threads;
  if (given.backend != nullptr) options.backend = given.backend;
  options.device_index = given.device_index;
  options.device_stream = given.device_stream;
  for (uint64_t i = 0; i < given.n_plugin_paths; ++i) {
    const char* path = given.plugin_paths[i];
    // An empty path would mean the current directory, which is never searched.
    if (path == nullptr || *path == '\0') {
      refuse(("options.plugin_paths[" + std::to_string(i) + "]").c_str(),
             "must not be NULL or empty");
    }
    options.plugin_paths.emplace_back(path);
  }
  if (given.module_path != nullptr) options.module_path = given.module_path;
  options.logger = std::move(logger);
  return options;
}

void write_measurement(double value, std::string_view kernel, okapi_measurement* out) {
  okapi_measurement filled{};
  filled.value = value;
  kernel.copy(filled.kernel, sizeof filled.kernel - 1);  // the rest stays zero, its end included
  write_struct(filled, out, "measurement", "OKAPI_MEASUREMENT_INIT");
}

/// Before the measuring, which takes a while, rather than after.
void check_measurement(okapi_measurement* out) { write_measurement(0, "", out); }

okapi::DType measured_dtype(const okapi::Backend& backend, int32_t dtype) {
  switch (dtype) {
    case OKAPI_DTYPE_DEFAULT:
      return backend.activation_dtype();
    case OKAPI_DTYPE_F32:
      return okapi::DType::f32;
    case OKAPI_DTYPE_BF16:
      return okapi::DType::bf16;
    case OKAPI_DTYPE_F16:
      throw okapi::Error(okapi::Code::unimplemented, "dtype must be F32 or BF16, is F16")
          .field("dtype");
    default:
      refuse("dtype", ("must be OKAPI_DTYPE_*, is " + std::to_string(dtype)).c_str());
  }
}

}  // namespace

okapi_status okapi_runtime_create(const okapi_runtime_options* options, okapi_runtime** runtime,
                                  okapi_error** error) {
  return guard(__func__, error, [&] {
    require_out(runtime, "runtime");
    const auto given = read_struct(options, "options", "OKAPI_RUNTIME_OPTIONS_INIT");
    const auto user_data = std::make_shared<UserData>(given.log_user_data, given.log_destroy);
    const int32_t log_level = effective_log_level(given.log_level);
    auto logger = make_logger(log_level, given.log_sink, user_data);
    auto context = okapi::RuntimeContext::create(engine_options(given, std::move(logger)));
    *runtime = new okapi_runtime(std::move(context), log_level);
    user_data->take();
  });
}

okapi_runtime* okapi_runtime_ref(okapi_runtime* runtime) { return ref(__func__, runtime); }

void okapi_runtime_unref(okapi_runtime* runtime) { unref(__func__, runtime); }

okapi_status okapi_runtime_describe(const okapi_runtime* runtime, char* buffer, size_t capacity,
                                    size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    okapi::Json json = require(runtime, "runtime")->context->describe();
    json["version"] = OKAPI_VERSION_STRING;
    json["log_level"] = name_of_log_level(runtime->log_level);
    copy_json(json, buffer, capacity, needed);
  });
}

okapi_status okapi_runtime_measure_matmul(okapi_runtime* runtime, int64_t m, int64_t n, int64_t k,
                                          int32_t dtype, okapi_measurement* measurement,
                                          okapi_error** error) {
  return guard(__func__, error, [&] {
    okapi::Backend& backend = *require(runtime, "runtime")->context->backend();
    check_range(m, 1, kMaxMatmulSize, "m");
    check_range(n, 1, kMaxMatmulSize, "n");
    check_range(k, 1, kMaxMatmulSize, "k");
    check_measurement(measurement);
    const auto found = backend.measure_matmul(m, n, k, measured_dtype(backend, dtype));
    write_measurement(found.gflops * 1e9, found.kernel, measurement);
  });
}

okapi_status okapi_runtime_measure_attention(okapi_runtime* runtime, int64_t n_tokens,
                                             int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,
                                             int32_t dtype, okapi_measurement* measurement,
                                             okapi_error** error) {
  return guard(__func__, error, [&] {
    const std::shared_ptr<okapi::Backend> backend = require(runtime, "runtime")->context->backend();
    check_range(n_tokens, 1, kMaxMeasuredTokens, "n_tokens");
    check_range(n_heads, 1, kMaxMeasuredHeads, "n_heads");
    check_range(n_kv_heads, 1, n_heads, "n_kv_heads");
    if (n_heads % n_kv_heads != 0) refuse("n_kv_heads", "must divide n_heads");
    check_range(head_dim, 2, kMaxMeasuredHeadDim, "head_dim");
    if (head_dim % 2 != 0) refuse("head_dim", "must be even");
    check_measurement(measurement);
    const double flops = okapi::measure_attention(
        backend, {n_tokens, n_heads, n_kv_heads, head_dim}, measured_dtype(*backend, dtype));
    write_measurement(flops, "attention", measurement);
  });
}

okapi_status okapi_runtime_measure_bandwidth(okapi_runtime* runtime, uint64_t n_bytes,
                                             okapi_measurement* measurement, okapi_error** error) {
  return guard(__func__, error, [&] {
    okapi::Backend& backend = *require(runtime, "runtime")->context->backend();
    check_measurement(measurement);
    if (n_bytes > PTRDIFF_MAX) refuse("n_bytes", "is larger than memory can be");
    const size_t n_read = n_bytes != 0 ? static_cast<size_t>(n_bytes) : kReadBytes;
    write_measurement(backend.measure_read_bandwidth(n_read), "read", measurement);
  });
}
