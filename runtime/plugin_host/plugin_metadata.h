// What a plugin file says about itself, read from the file without running any of its code.
//
//   const PluginMetadata yarn = read_plugin_metadata("plugins/rope/yarn.so");
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <okapi/plugin/plugin.h>

#include "runtime/base/json.h"
#include "runtime/plugin_host/param_schema.h"

namespace okapi {

/// Whether the bytes are well-formed UTF-8.
bool is_utf8(std::string_view text);

/// "rope" offers the extension point "okapi.rope/1".
struct PluginKind {
  const char* name;
  const char* extension;
};

/// The kinds this okapi can use.
const std::vector<PluginKind>& plugin_kinds();

struct PluginMetadata {
  std::filesystem::path path;
  std::string id;
  std::string name;
  std::string version;
  std::string license;
  std::string summary;
  std::string built_with;
  uint32_t abi_major = 0;
  uint32_t abi_minor_needed = 0;
  std::vector<std::string> extensions;  ///< as offered, also those this okapi does not know
  std::vector<std::string> kinds;       ///< of the extensions that it does: "rope"
  ParamSchema parameters;

  Json json() const;
};

/// Throws not_found, permission_denied, invalid_argument (no ELF file, damaged, no plugin, a broken
/// entry) or failed_precondition (another plugin ABI, naming both), each with the file.
PluginMetadata read_plugin_metadata(const std::filesystem::path& path);

/// The same of an entry in memory, checked the same way. `size` is how much of it is there.
PluginMetadata parse_plugin_entry(const void* entry, size_t size,
                                  const std::filesystem::path& path);

}  // namespace okapi
