#include "runtime/plugin_host/plugin_host.h"

#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <system_error>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/plugin_host/names.h"

namespace okapi {

namespace {

namespace fs = std::filesystem;

constexpr const char* kEnvironment = "OKAPI_PLUGIN_PATH";
constexpr const char* kPluginHostComponent = "plugin_host";

bool offers(const PluginMetadata& plugin, std::string_view kind) {
  return std::find(plugin.kinds.begin(), plugin.kinds.end(), kind) != plugin.kinds.end();
}

/// What an embedder gave with a scheme, given back when nothing needs it.
struct UserData {
  void* data = nullptr;
  void (*destroy)(void*) = nullptr;

  UserData() = default;
  UserData(const UserData&) = delete;
  UserData& operator=(const UserData&) = delete;
  ~UserData() {
    if (destroy != nullptr) destroy(data);
  }
};

/// The libraries of a folder, sorted, so that the same folder is always searched in the same order.
/// Read as POSIX has it: libstdc++'s directory_iterator copies paths within noexcept, and would end
/// the process when memory runs out.
std::vector<fs::path> libraries_in(const fs::path& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> open(opendir(folder.c_str()), closedir);
  if (open == nullptr) {
    throw fs::filesystem_error("cannot be read", folder,
                               std::error_code(errno, std::generic_category()));
  }
  std::vector<fs::path> files;
  while (const dirent* entry = readdir(open.get())) {
    const fs::path name(entry->d_name);
    if (name.extension() == ".so") files.push_back(folder / name);
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::shared_ptr<PluginHost> PluginHost::create(const PluginHostOptions& options) {
  std::shared_ptr<PluginHost> host(new PluginHost(options.logger));
  for (const fs::path& path : options.paths) host->search(path);
  if (options.uses_environment) host->search_environment();
  if (!options.install_folder.empty()) host->search(options.install_folder);
  return host;
}

void PluginHost::search_environment() {
  const char* text = std::getenv(kEnvironment);
  if (text == nullptr) return;
  std::string_view rest(text);
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(':'), rest.size());
    const fs::path path(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (path.empty()) continue;  // "a::b" must not mean the current directory
    if (path.is_relative()) {
      refuse(path, std::string(kEnvironment) + " takes absolute folders only");
    } else {
      search(path);
    }
  }
}

void PluginHost::search(const fs::path& given) {
  std::error_code error;
  if (given.empty()) return refuse(given, "an empty path");
  const fs::path path =
      fs::absolute(given);  // the current directory may be another when it is loaded
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) return refuse(path, "does not exist");
  if (error) return refuse(path, "cannot be examined: " + error.message());
  if (!fs::is_directory(status)) return try_file(path);

  std::vector<fs::path> folders = {path};
  for (const PluginKind& kind : plugin_kinds()) {
    if (fs::is_directory(path / kind.name, error)) folders.push_back(path / kind.name);
  }
  for (const fs::path& folder : folders) {
    try {
      for (const fs::path& file : libraries_in(folder)) try_file(file);
    } catch (const fs::filesystem_error& problem) {
      refuse(folder, "cannot be read: " + problem.code().message());
    }
  }
}

void PluginHost::try_file(const fs::path& path) {
  try {
    PluginMetadata found = read_plugin_metadata(path);
    for (const PluginMetadata& other : plugins_) {
      if (other.id == found.id) {
        return refuse(path, "hidden by " + other.path.string() + ", found before, of the same id " +
                                found.id);
      }
    }
    if (logger_ != nullptr) {
      logger_->log(LogLevel::debug, kPluginHostComponent, "found a plugin",
                   {{"id", found.id}, {"version", found.version}, {"file", path.string()}});
    }
    tell_of_hidden_name(found);
    plugins_.push_back(std::move(found));
  } catch (const Error& error) {
    refuse(path, error.what());
  }
}

// Of two plugins by one name the first is meant. Unsaid, a changed copy of a known scheme would be
// compared with itself.
void PluginHost::tell_of_hidden_name(const PluginMetadata& found) const {
  if (logger_ == nullptr) return;
  for (const std::string& kind : found.kinds) {
    const PluginMetadata* first = find(kind, found.name);
    if (first == nullptr) continue;
    logger_->log(LogLevel::warn, kPluginHostComponent,
                 "two " + kind + " plugins are named " + found.name + ": " + first->id +
                     " is used, the other one by its id, " + found.id,
                 {{"used", first->path.string()}, {"file", found.path.string()}});
  }
}

void PluginHost::refuse(const fs::path& path, const std::string& reason) {
  refused_.push_back({path, reason});
  if (logger_ != nullptr) {
    logger_->log(LogLevel::warn, kPluginHostComponent, "not used: " + reason,
                 {{"file", path.string()}});
  }
}

std::vector<PluginMetadata> PluginHost::plugins() const {
  const std::scoped_lock lock(mutex_);
  return plugins_;
}

std::vector<RefusedPlugin> PluginHost::refused() const {
  const std::scoped_lock lock(mutex_);
  return refused_;
}

Json PluginHost::json() const {
  const std::scoped_lock lock(mutex_);
  Json plugins = Json::array();
  for (const PluginMetadata& plugin : plugins_) plugins.push_back(plugin.json());
  for (const auto& [name, scheme] : registered_) {
    Json json = scheme->identity().json();
    json["kind"] = "rope";
    json["summary"] = "registered in process";
    json["parameters"] = scheme->parameters().json();
    plugins.push_back(std::move(json));
  }
  Json refused = Json::array();
  for (const RefusedPlugin& plugin : refused_) {
    refused.push_back({{"file", plugin.path.string()}, {"reason", plugin.reason}});
  }
  return {{"plugins", std::move(plugins)}, {"refused", std::move(refused)}};
}

void PluginHost::add_file(const fs::path& path) {
  PluginMetadata found = read_plugin_metadata(fs::absolute(path));
  const std::scoped_lock lock(mutex_);
  for (const std::string& kind : found.kinds) {
    const bool is_registered = kind == "rope" && registered_.contains(found.name);
    const PluginMetadata* other = find(kind, found.name);
    if (other == nullptr) other = find(kind, found.id);
    if (other == nullptr && !is_registered) continue;
    throw Error(Code::already_exists,
                "there is already a " + kind + " plugin named " + found.name +
                    (other == nullptr ? ", registered in process" : ": " + other->path.string()))
        .in(kPluginHostComponent)
        .field("name")
        .at(path.string());
  }
  plugins_.push_back(std::move(found));
}

const PluginMetadata* PluginHost::find(std::string_view kind, std::string_view name) const {
  const auto found =
      std::find_if(plugins_.begin(), plugins_.end(), [&](const PluginMetadata& plugin) {
        return offers(plugin, kind) && (plugin.name == name || plugin.id == name);
      });
  return found == plugins_.end() ? nullptr : &*found;
}

std::vector<std::string> PluginHost::names(std::string_view kind) const {
  std::vector<std::string> names;
  for (const PluginMetadata& plugin : plugins_) {
    if (offers(plugin, kind)) names.push_back(plugin.name);
  }
  if (kind == "rope") {
    for (const auto& [name, scheme] : registered_) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

void PluginHost::fail_not_found(std::string_view kind, std::string_view name) const {
  const std::vector<std::string> known = names(kind);
  std::string message = "no " + std::string(kind) + " plugin named " + std::string(name) +
                        "; found: " + join_names(known) + did_you_mean(name, known);
  for (const RefusedPlugin& plugin : refused_) {
    message += "; not used: " + plugin.path.string() + " (" + plugin.reason + ")";
  }
  throw Error(Code::not_found, message).in(kPluginHostComponent).field(std::string(name));
}

std::shared_ptr<const LoadedPlugin> PluginHost::load(const PluginMetadata& metadata) const {
  std::shared_ptr<const LoadedPlugin>& loaded = loaded_[metadata.id];
  if (loaded == nullptr) loaded = LoadedPlugin::load(metadata, logger_);
  return loaded;
}

template <typename Plugin>
std::shared_ptr<const Plugin> PluginHost::open(
    std::string_view kind, std::string_view name,
    std::map<std::string, std::shared_ptr<const Plugin>>& opened) const {
  const PluginMetadata* metadata = find(kind, name);
  if (metadata == nullptr) fail_not_found(kind, name);
  std::shared_ptr<const Plugin>& plugin = opened[metadata->id];
  if (plugin == nullptr) plugin = std::make_shared<const Plugin>(load(*metadata));
  return plugin;
}

std::shared_ptr<const RopeScheme> PluginHost::rope(std::string_view name) const {
  const std::scoped_lock lock(mutex_);
  const auto registered = registered_.find(name);
  if (registered != registered_.end()) return registered->second;
  return open("rope", name, ropes_);
}

std::shared_ptr<const DatasetPlugin> PluginHost::dataset(std::string_view name) const {
  const std::scoped_lock lock(mutex_);
  return open("dataset", name, datasets_);
}

std::shared_ptr<const TaskPlugin> PluginHost::task(std::string_view name) const {
  const std::scoped_lock lock(mutex_);
  return open("task", name, tasks_);
}

void PluginHost::register_rope(std::string_view name, std::string_view parameters_json,
                               const okapi_rope_scheme_v1& table, void* user_data,
                               void (*destroy)(void*)) {
  const std::string key(name);
  if (!is_plain_name(name)) {
    throw Error(Code::invalid_argument,
                "a scheme's name is made of letters, digits, _ and -; found \"" + key + "\"")
        .in(kPluginHostComponent)
        .field("name");
  }
  // What is damaged data in a plugin's file is a wrong argument here.
  ParamSchema parameters = [&] {
    try {
      return ParamSchema::parse(parameters_json.empty() ? "[]" : parameters_json, "rope." + key);
    } catch (const Error& error) {
      throw Error(Code::invalid_argument, error.message())
          .in(kPluginHostComponent)
          .field("parameters_json");
    }
  }();

  const std::scoped_lock lock(mutex_);
  if (registered_.contains(key) || find("rope", name) != nullptr) {
    throw Error(Code::already_exists, "there is already a rope plugin named " + key)
        .in(kPluginHostComponent)
        .field("name");
  }

  // Armed last: should anything throw before, user_data stays the caller's.
  const auto owner = std::make_shared<UserData>();
  auto scheme =
      std::make_shared<const RopeScheme>(key, std::move(parameters), table, user_data, owner);
  registered_.emplace(key, std::move(scheme));
  owner->data = user_data;
  owner->destroy = destroy;
}

}  // namespace okapi
