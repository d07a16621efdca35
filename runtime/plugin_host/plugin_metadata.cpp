#include "runtime/plugin_host/plugin_metadata.h"

#include <algorithm>
#include <cstring>
#include <sstream>

#include "runtime/base/error.h"
#include "runtime/plugin_host/elf_symbol.h"
#include "runtime/plugin_host/names.h"

namespace okapi {

namespace {

constexpr const char* kEntrySymbol = "okapi_plugin_entry_v1";

// The first release of the entry ends with get_extension; a later one may go on.
constexpr size_t kEntryBytes = sizeof(okapi_plugin_entry);

Error refusal(Code code, const std::string& reason, const std::filesystem::path& path) {
  return Error(code, reason).in("plugin_host").at(path.string());
}

/// One of the entry's arrays, which must end in it.
template <size_t kSize>
std::string text_of(const char (&array)[kSize], const char* field,
                    const std::filesystem::path& path) {
  const void* end = std::memchr(array, '\0', kSize);
  if (end == nullptr) {
    throw refusal(Code::invalid_argument, std::string("the entry's ") + field + " has no end", path)
        .field(field);
  }
  std::string text(array, static_cast<const char*>(end));
  const bool has_control = std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t';
  });
  if (has_control || !is_utf8(text)) {
    throw refusal(Code::invalid_argument,
                  std::string("the entry's ") + field + " is not UTF-8 text", path)
        .field(field);
  }
  return text;
}

void check_abi(const okapi_plugin_entry& entry, const std::filesystem::path& path) {
  if (entry.magic != OKAPI_PLUGIN_MAGIC) {
    throw refusal(Code::invalid_argument, "the entry has a wrong magic number: not an okapi plugin",
                  path);
  }
  const bool is_newer =
      entry.abi_major > OKAPI_PLUGIN_ABI_MAJOR || (entry.abi_major == OKAPI_PLUGIN_ABI_MAJOR &&
                                                   entry.abi_minor_needed > OKAPI_PLUGIN_ABI_MINOR);
  if (!is_newer && entry.abi_major == OKAPI_PLUGIN_ABI_MAJOR) return;

  // Another major may lay out the rest differently: only the array's own bounds are trusted.
  const size_t header_length = strnlen(entry.built_with, sizeof entry.built_with);
  throw refusal(Code::failed_precondition,
                "needs plugin ABI " + std::to_string(entry.abi_major) + "." +
                    std::to_string(entry.abi_minor_needed) + " (built with the headers of " +
                    std::string(entry.built_with, header_length) + "), this okapi has " +
                    std::to_string(OKAPI_PLUGIN_ABI_MAJOR) + "." +
                    std::to_string(OKAPI_PLUGIN_ABI_MINOR) + ": " +
                    (is_newer ? "a newer okapi is needed" : "the plugin must be built anew"),
                path)
      .field("abi");
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

void check_names(const PluginMetadata& plugin) {
  const auto wrong = [&](const char* field, const std::string& value) {
    return refusal(Code::invalid_argument,
                   std::string("the entry's ") + field + " is not a name: \"" + value + "\"",
                   plugin.path)
        .field(field);
  };
  if (!is_plain_name(plugin.name)) throw wrong("name", plugin.name);
  if (!is_plugin_id(plugin.id)) throw wrong("id", plugin.id);
  if (plugin.kinds.empty()) {
    throw refusal(Code::invalid_argument,
                  "offers nothing this okapi can use: " + join_names(plugin.extensions),
                  plugin.path)
        .field("extensions");
  }
}

}  // namespace

const std::vector<PluginKind>& plugin_kinds() {
  static const std::vector<PluginKind> kKinds = {
      {"rope", "okapi.rope/1"}, {"dataset", "okapi.dataset/1"}, {"task", "okapi.task/1"}};
  return kKinds;
}

bool is_utf8(std::string_view text) {
  // nlohmann's strict writer accepts exactly UTF-8 without surrogates and overlong forms.
  try {
    static_cast<void>(Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::strict));
    return true;
  } catch (const Json::type_error&) {
    return false;
  }
}

PluginMetadata parse_plugin_entry(const void* bytes, size_t size,
                                  const std::filesystem::path& path) {
  // Magic and ABI stand in front, and stay there in every version, so that they can always be told.
  okapi_plugin_entry entry{};
  std::memcpy(&entry, bytes, std::min(size, sizeof entry));
  if (size < offsetof(okapi_plugin_entry, id)) {
    throw refusal(Code::invalid_argument, "the entry is cut short", path).field("struct_size");
  }
  check_abi(entry, path);
  if (size < kEntryBytes || entry.struct_size < kEntryBytes || entry.struct_size > size) {
    throw refusal(Code::invalid_argument,
                  "the entry has " + std::to_string(size) + " bytes and claims " +
                      std::to_string(entry.struct_size) + ", wanted at least " +
                      std::to_string(kEntryBytes),
                  path)
        .field("struct_size");
  }

  PluginMetadata plugin;
  plugin.path = path;
  plugin.abi_major = entry.abi_major;
  plugin.abi_minor_needed = entry.abi_minor_needed;
  plugin.built_with = text_of(entry.built_with, "built_with", path);
  plugin.id = text_of(entry.id, "id", path);
  plugin.name = text_of(entry.name, "name", path);
  plugin.version = text_of(entry.version, "version", path);
  plugin.license = text_of(entry.license, "license", path);
  plugin.summary = text_of(entry.summary, "summary", path);
  plugin.extensions = words_of(text_of(entry.extensions, "extensions", path));
  for (const PluginKind& kind : plugin_kinds()) {
    const bool offers = std::find(plugin.extensions.begin(), plugin.extensions.end(),
                                  kind.extension) != plugin.extensions.end();
    if (offers) plugin.kinds.emplace_back(kind.name);
  }
  check_names(plugin);
  try {
    plugin.parameters = ParamSchema::parse(text_of(entry.parameters, "parameters", path),
                                           plugin.kinds.front() + "." + plugin.name);
  } catch (const Error& error) {
    throw refusal(Code::invalid_argument, std::string("the entry's parameters: ") + error.what(),
                  path)
        .field("parameters")
        .because(error);
  }
  return plugin;
}

PluginMetadata read_plugin_metadata(const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = read_elf_symbol(path, kEntrySymbol);
  return parse_plugin_entry(bytes.data(), bytes.size(), path);
}

Json PluginMetadata::json() const {
  return {{"id", id},
          {"name", name},
          {"kind", kinds.front()},
          {"version", version},
          {"license", license},
          {"summary", summary},
          {"extensions", extensions},
          {"parameters", parameters.json()},
          {"abi", std::to_string(abi_major) + "." + std::to_string(abi_minor_needed)},
          {"built_with", built_with},
          {"file", path.string()}};
}

}  // namespace okapi
