#include "runtime/runtime_context.h"

#include <dlfcn.h>

#include <algorithm>
#include <sstream>
#include <thread>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/device/backend_loader.h"
#include "runtime/device/build_id.h"
#include "runtime/plugin_host/plugin_host.h"

namespace okapi {

namespace {

/// <folder of the library this code is in>/okapi: where modules lie in the build and installed
/// trees.
std::filesystem::path path_beside_this_library() {
  Dl_info info = {};
  static constexpr char kHere = 0;
  if (dladdr(&kHere, &info) == 0 || info.dli_fname == nullptr) {
    throw Error(Code::internal, "cannot tell where the library lies; give module_path")
        .in("runtime");
  }
  std::error_code error;
  const std::filesystem::path library = std::filesystem::canonical(info.dli_fname, error);
  if (error) {
    throw Error(Code::internal, std::string("cannot find the library's own file ") +
                                    info.dli_fname + "; give module_path")
        .in("runtime");
  }
  return library.parent_path() / "okapi";
}

/// The names a build offers when none is asked for, best first (OKAPI_DEFAULT_BACKENDS of the
/// build).
std::vector<std::string> default_backends() {
  std::vector<std::string> names;
  std::istringstream list(OKAPI_DEFAULT_BACKENDS);
  for (std::string name; std::getline(list, name, ',');) names.push_back(name);
  return names;
}

std::shared_ptr<Backend> open_first_backend(const std::vector<std::string>& names,
                                            const BackendOptions& options,
                                            const std::filesystem::path& directory,
                                            const Logger& logger) {
  for (size_t i = 0; i < names.size(); ++i) {
    try {
      return open_backend(names[i], options, {directory}, logger);
    } catch (const Error& error) {
      // A stream is for one backend alone: that the next has none would be the wrong news.
      const bool is_wanted = options.device_stream != nullptr && error.code() != Code::not_found;
      if (i + 1 == names.size() || is_wanted) throw;
      // One that is not installed is nobody's news; one that is there and has no device is.
      const LogLevel level = error.code() == Code::not_found ? LogLevel::debug : LogLevel::info;
      logger.log(level, "runtime", "a backend is not used: " + error.full_message(),
                 {{"backend", names[i]}});
    }
  }
  throw Error(Code::internal, "the build names no backend").in("runtime");
}

}  // namespace

std::shared_ptr<RuntimeContext> RuntimeContext::create(RuntimeOptions options) {
  if (options.n_threads < 0) {
    throw Error(Code::invalid_argument,
                "n_threads: must not be negative, and is " + std::to_string(options.n_threads))
        .in("runtime")
        .field("n_threads");
  }
  std::shared_ptr<RuntimeContext> context(new RuntimeContext());
  context->logger_ = options.logger ? std::move(options.logger) : Logger::to_stderr();
  context->plugin_paths_ = options.plugin_paths;
  context->module_path_ =
      options.module_path.empty() ? path_beside_this_library() : options.module_path;
  context->n_threads_ = options.n_threads > 0
                            ? options.n_threads
                            : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));

  BackendOptions backend_options;
  backend_options.n_threads = context->n_threads_;
  backend_options.device_index = options.device_index;
  backend_options.device_stream = options.device_stream;
  context->has_device_stream_ = options.device_stream != nullptr;
  const std::vector<std::string> names =
      options.backend.empty() ? default_backends() : std::vector<std::string>{options.backend};
  context->backend_ = open_first_backend(names, backend_options, context->module_path_ / "backends",
                                         *context->logger_);
  PluginHostOptions host_options;
  host_options.paths = std::move(options.plugin_paths);
  host_options.install_folder = context->module_path_ / "plugins";
  host_options.logger = context->logger_;
  context->plugin_host_ = PluginHost::create(host_options);
  return context;
}

std::vector<std::filesystem::path> RuntimeContext::tokenizer_directories() const {
  return {module_path_ / "tokenizers"};
}

Json RuntimeContext::describe() const {
  Json paths = Json::array();
  for (const std::filesystem::path& path : plugin_paths_) paths.push_back(path.string());
  return {{"build", kBuildId},
          {"backend", backend_->name()},
          {"device", backend_->device()},
          {"device_stream", has_device_stream_ ? Json("given") : Json(nullptr)},
          {"n_threads", n_threads_},
          {"module_path", module_path_.string()},
          {"plugin_paths", std::move(paths)}};
}

}  // namespace okapi
