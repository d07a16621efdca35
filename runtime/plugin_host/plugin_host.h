// Finds plugins, reads what they say of themselves, and opens them when they are first used. One
// per runtime; two know nothing of each other.
//
//   auto host = PluginHost::create({.install_folder = "lib/okapi/plugins"});
//   auto yarn = host->rope("yarn");   // or the full id, "org.okapi.rope.yarn"
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/log.h"
#include "runtime/plugin_host/dataset_plugin.h"
#include "runtime/plugin_host/plugin_metadata.h"
#include "runtime/plugin_host/rope_scheme.h"
#include "runtime/plugin_host/task_plugin.h"

namespace okapi {

struct PluginHostOptions {
  /// Files or folders, searched first. A folder's own *.so and those in its rope/, dataset/ and
  /// task/.
  std::vector<std::filesystem::path> paths;
  bool uses_environment = true;  ///< then OKAPI_PLUGIN_PATH, absolute folders separated by ':'
  std::filesystem::path install_folder;  ///< last; "": none
  std::shared_ptr<const Logger> logger;  ///< null: no log
};

/// A place that was tried and gave no plugin.
struct RefusedPlugin {
  std::filesystem::path path;
  std::string reason;
};

/// All functions may be called from any thread.
class PluginHost {
 public:
  /// Searches. Never throws for what it finds: see refused(). Never looks in the current directory
  /// unless told to.
  static std::shared_ptr<PluginHost> create(const PluginHostOptions& options);

  std::vector<PluginMetadata> plugins() const;
  std::vector<RefusedPlugin> refused() const;

  /// "plugins" and "refused".
  Json json() const;

  /// Adds one file. Throws as read_plugin_metadata; already_exists for a kind and name that is
  /// taken.
  void add_file(const std::filesystem::path& path);

  /// By short name or full id, opening the library if need be. Throws not_found listing what there
  /// is and what was refused; what loading the library throws.
  std::shared_ptr<const RopeScheme> rope(std::string_view name) const;
  std::shared_ptr<const DatasetPlugin> dataset(std::string_view name) const;
  std::shared_ptr<const TaskPlugin> task(std::string_view name) const;

  /// Offers a scheme of the embedder under `name`. The table is copied. `destroy`, which may be
  /// null, is called with `user_data` once, when this host and the last rope made of the scheme
  /// have gone; not if this throws (invalid_argument, already_exists).
  void register_rope(std::string_view name, std::string_view parameters_json,
                     const okapi_rope_scheme_v1& table, void* user_data, void (*destroy)(void*));

 private:
  explicit PluginHost(std::shared_ptr<const Logger> logger) : logger_(std::move(logger)) {}

  void search(const std::filesystem::path& given);
  void search_environment();
  void try_file(const std::filesystem::path& path);
  void refuse(const std::filesystem::path& path, const std::string& reason);
  void tell_of_hidden_name(const PluginMetadata& found) const;
  const PluginMetadata* find(std::string_view kind, std::string_view name) const;
  std::vector<std::string> names(std::string_view kind) const;
  [[noreturn]] void fail_not_found(std::string_view kind, std::string_view name) const;
  std::shared_ptr<const LoadedPlugin> load(const PluginMetadata& metadata) const;

  template <typename Plugin>
  std::shared_ptr<const Plugin> open(
      std::string_view kind, std::string_view name,
      std::map<std::string, std::shared_ptr<const Plugin>>& opened) const;

  std::shared_ptr<const Logger> logger_;
  mutable std::mutex mutex_;  // of all below; held while a plugin's init runs
  std::vector<PluginMetadata> plugins_;
  std::vector<RefusedPlugin> refused_;
  std::map<std::string, std::shared_ptr<const RopeScheme>, std::less<>> registered_;

  // By full id, what was opened.
  mutable std::map<std::string, std::shared_ptr<const LoadedPlugin>> loaded_;
  mutable std::map<std::string, std::shared_ptr<const RopeScheme>> ropes_;
  mutable std::map<std::string, std::shared_ptr<const DatasetPlugin>> datasets_;
  mutable std::map<std::string, std::shared_ptr<const TaskPlugin>> tasks_;
};

}  // namespace okapi
