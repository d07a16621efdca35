#include <okapi/plugins.h>

#include <filesystem>

#include "capi/src/objects.h"
#include "capi/src/text_out.h"
#include "runtime/plugin_host/conformance.h"
#include "runtime/plugin_host/plugin_host.h"
#include "runtime/runtime_context.h"

using namespace okapi::capi;  // NOLINT(google-build-using-namespace): this file is its C face

okapi_status okapi_runtime_plugins(const okapi_runtime* runtime, char* buffer, size_t capacity,
                                   size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_json(require(runtime, "runtime")->context->plugin_host().json(), buffer, capacity, needed);
  });
}

okapi_status okapi_runtime_add_plugin(okapi_runtime* runtime, const char* path,
                                      okapi_error** error) {
  return guard(__func__, error, [&] {
    require(runtime, "runtime")->context->plugin_host().add_file(require_path(path, "path"));
  });
}

okapi_status okapi_plugin_info(const char* path, char* buffer, size_t capacity, size_t* needed,
                               okapi_error** error) {
  return guard(__func__, error, [&] {
    copy_json(okapi::read_plugin_metadata(require_path(path, "path")).json(), buffer, capacity,
              needed);
  });
}

okapi_status okapi_plugin_check(okapi_runtime* runtime, const char* path, char* buffer,
                                size_t capacity, size_t* needed, okapi_error** error) {
  return guard(__func__, error, [&] {
    const std::filesystem::path file = require_path(path, "path");
    const auto& logger = require(runtime, "runtime")->context->shared_logger();
    // Checks that fail are an answer; a file that is not there is none.
    if (!std::filesystem::exists(file)) {
      throw okapi::Error(okapi::Code::not_found, "no such file").field("path").at(file.string());
    }
    copy_json(okapi::conformance_json(okapi::check_plugin(file, logger)), buffer, capacity, needed);
  });
}
