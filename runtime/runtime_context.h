// The root of everything: a log, the plugins found, one opened backend, a thread limit. Models and
// sessions hold it. There are no process-wide objects; two contexts know nothing of each other.
//
//   RuntimeOptions options;
//   options.n_threads = 2;
//   auto context = RuntimeContext::create(std::move(options));
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "runtime/base/json.h"
#include "runtime/base/log.h"

namespace okapi {

class PluginHost;

struct RuntimeOptions {
  int n_threads = 0;              ///< most threads one call uses; 0: one per core
  std::string backend;            ///< "": the first of the build's list that opens
  int device_index = 0;           ///< which of several devices of the backend
  void* device_stream = nullptr;  ///< of the caller, see BackendOptions
  std::vector<std::filesystem::path> plugin_paths;  ///< searched before OKAPI_PLUGIN_PATH
  /// Holds backends/, plugins/ and tokenizers/; "": beside this code.
  std::filesystem::path module_path;
  std::shared_ptr<Logger> logger;  ///< null: warnings and errors to standard error
};

class RuntimeContext {
 public:
  /// Throws not_found when no backend module is there, unavailable when its device is not, both
  /// listing what was tried.
  static std::shared_ptr<RuntimeContext> create(RuntimeOptions options);

  const Logger& logger() const { return *logger_; }
  const std::shared_ptr<Logger>& shared_logger() const { return logger_; }
  PluginHost& plugin_host() const { return *plugin_host_; }
  const std::shared_ptr<Backend>& backend() const { return backend_; }
  int n_threads() const { return n_threads_; }  ///< in force, at least 1

  const std::filesystem::path& module_path() const { return module_path_; }
  std::vector<std::filesystem::path> tokenizer_directories() const;

  /// Version, backend, device, threads, where modules are looked for.
  Json describe() const;

 private:
  RuntimeContext() = default;

  // In this order: the backend and the plugins may log until they are gone.
  std::shared_ptr<Logger> logger_;
  std::shared_ptr<PluginHost> plugin_host_;
  std::shared_ptr<Backend> backend_;
  std::vector<std::filesystem::path> plugin_paths_;
  std::filesystem::path module_path_;
  int n_threads_ = 1;
  bool has_device_stream_ = false;
};

}  // namespace okapi
