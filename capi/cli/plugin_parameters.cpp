#include "capi/cli/plugin_parameters.h"

#include <charconv>
#include <map>

#include "capi/lua/suggestion.h"

namespace okapi::cli {

namespace {

// What the plugin declares: name -> type.
std::map<std::string, std::string> declared_types(const okapi_runtime* runtime,
                                                  const std::string& kind,
                                                  const std::string& name) {
  std::map<std::string, std::string> types;
  const Json found = parse_json(api::text(okapi_runtime_plugins, runtime));
  for (const Json& plugin : found.at("plugins")) {
    if (plugin.value("kind", "") != kind ||
        (plugin.value("name", "") != name && plugin.value("id", "") != name)) {
      continue;
    }
    for (const Json& parameter : plugin.at("parameters")) {
      types[parameter.at("name").get<std::string>()] = parameter.at("type").get<std::string>();
    }
  }
  return types;
}

template <class Number>
Number number_of(const std::string& text, const std::string& key, const char* wanted) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    throw UsageError("--param " + key + ": wanted " + wanted + ", found '" + text + "'");
  }
  return value;
}

// A value as its declared type; numbers of a list are separated by ";" as in a rope spec.
Json typed_value(const std::string& key, const std::string& text, const std::string& type) {
  if (type == "number") return number_of<double>(text, key, "a number");
  if (type == "integer") return number_of<int64_t>(text, key, "an integer");
  if (type == "boolean") {
    if (text == "true" || text == "false") return text == "true";
    throw UsageError("--param " + key + ": wanted true or false, found '" + text + "'");
  }
  if (type != "list") return text;
  Json list = Json::array();
  for (const std::string& part : CLI::detail::split(text, ';')) {
    list.push_back(number_of<double>(part, key, "numbers separated by ';'"));
  }
  return list;
}

}  // namespace

void add_plugin_parameters(Json& parameters, const std::vector<std::string>& given,
                           const okapi_runtime* runtime, const std::string& kind,
                           const std::string& plugin) {
  if (given.empty()) return;
  const auto types = declared_types(runtime, kind, plugin);
  std::vector<std::string> known;
  known.reserve(types.size());
  for (const auto& [name, type] : types) known.push_back(name);
  for (const std::string& one : given) {
    const size_t equals = one.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw UsageError("--param: wanted key=value, found '" + one + "'");
    }
    const std::string key = one.substr(0, equals);
    const auto type = types.find(key);
    if (type == types.end() && !types.empty()) {
      throw UsageError("--param: " +
                       api::unknown_word_message("parameter of " + plugin, key, known));
    }
    if (parameters.contains(key)) throw UsageError("--param " + key + ": given twice");
    parameters[key] =
        typed_value(key, one.substr(equals + 1), type == types.end() ? "string" : type->second);
  }
}

}  // namespace okapi::cli
