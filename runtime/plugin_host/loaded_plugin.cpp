#include "runtime/plugin_host/loaded_plugin.h"

#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/sha256.h"
#include "runtime/base/shared_library.h"
#include "runtime/plugin_host/plugin_call.h"

namespace okapi {

Json PluginIdentity::json() const {
  return {{"id", id}, {"name", name}, {"version", version}, {"file", file}, {"sha256", sha256}};
}

LoadedPlugin::LoadedPlugin(PluginMetadata metadata, std::shared_ptr<const Logger> logger)
    : metadata_(std::move(metadata)),
      logger_(std::move(logger)),
      host_(logger_, metadata_.parameters.owner()) {}

std::shared_ptr<const LoadedPlugin> LoadedPlugin::load(
    const PluginMetadata& metadata, const std::shared_ptr<const Logger>& logger) {
  const std::string& component = metadata.parameters.owner();
  const SharedLibrary library = SharedLibrary::open(metadata.path, Isolation::local);
  const auto* entry =
      static_cast<const okapi_plugin_entry*>(library.symbol("okapi_plugin_entry_v1"));

  const PluginMetadata found = parse_plugin_entry(entry, sizeof *entry, metadata.path);
  if (found.id != metadata.id || found.version != metadata.version) {
    throw Error(Code::failed_precondition,
                "the file changed since it was found: it was " + metadata.id + " " +
                    metadata.version + ", the library loaded is " + found.id + " " + found.version)
        .in(component)
        .at(metadata.path.string());
  }
  if (entry->get_extension == nullptr) {
    throw Error(Code::invalid_argument, "the entry has no get_extension")
        .in(component)
        .field("get_extension")
        .at(metadata.path.string());
  }

  // Not make_shared: the constructor is private.
  std::shared_ptr<LoadedPlugin> plugin(new LoadedPlugin(metadata, logger));
  plugin->entry_ = entry;
  plugin->sha256_ = sha256_of_file(metadata.path);
  if (entry->init != nullptr) {
    call_plugin(component, [&](const okapi_error_sink* sink) {
      return entry->init(plugin->host_.table(), &plugin->state_, sink);
    });
  }
  plugin->is_initialised_ = true;
  return plugin;
}

LoadedPlugin::~LoadedPlugin() {
  if (is_initialised_ && entry_->deinit != nullptr) entry_->deinit(state_);
}

const void* LoadedPlugin::extension(const char* id) const {
  return entry_->get_extension(state_, id);
}

PluginIdentity LoadedPlugin::identity() const {
  return {metadata_.id, metadata_.name, metadata_.version, metadata_.path.string(), sha256_};
}

}  // namespace okapi
