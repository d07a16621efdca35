// A plugin's library, opened and initialised under one host. The library stays mapped until the
// process ends; the plugin's state goes when the last user of it does.
#pragma once

#include <memory>
#include <string>

#include "runtime/base/log.h"
#include "runtime/plugin_host/host_table.h"
#include "runtime/plugin_host/plugin_metadata.h"

namespace okapi {

/// What results and checkpoints say about where a scheme, dataset or task came from.
struct PluginIdentity {
  std::string id;
  std::string name;
  std::string version;
  std::string file;    ///< "" for a scheme registered in process
  std::string sha256;  ///< of the file; "" likewise

  Json json() const;
};

class LoadedPlugin {
 public:
  /// Throws unavailable when the dynamic loader refuses the file, failed_precondition when it is no
  /// longer the one the metadata was read from, and what init reports.
  static std::shared_ptr<const LoadedPlugin> load(const PluginMetadata& metadata,
                                                  const std::shared_ptr<const Logger>& logger);
  LoadedPlugin(const LoadedPlugin&) = delete;
  LoadedPlugin& operator=(const LoadedPlugin&) = delete;
  ~LoadedPlugin();

  const PluginMetadata& metadata() const { return metadata_; }
  const std::shared_ptr<const Logger>& logger() const { return logger_; }
  void* state() const { return state_; }

  /// The extension's table, or null.
  const void* extension(const char* id) const;

  PluginIdentity identity() const;

 private:
  LoadedPlugin(PluginMetadata metadata, std::shared_ptr<const Logger> logger);

  PluginMetadata metadata_;
  std::shared_ptr<const Logger> logger_;
  HostTable host_;
  const okapi_plugin_entry* entry_ = nullptr;
  void* state_ = nullptr;
  bool is_initialised_ = false;
  std::string sha256_;
};

}  // namespace okapi
