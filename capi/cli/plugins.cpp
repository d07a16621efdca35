// okapi plugins: what was found, what a file says of itself, whether it keeps its contract.
#include <algorithm>
#include <array>
#include <filesystem>

#include <fmt/format.h>

#include "capi/cli/command.h"
#include "capi/cli/plugin_text.h"
#include "capi/cli/terminal.h"
#include "capi/lua/suggestion.h"

namespace okapi::cli {

// Columns of words, each as wide as its widest cell.
static std::string word_table(const std::vector<std::array<std::string, 4>>& rows,
                              const std::string& indent) {
  std::array<size_t, 4> widths = {};
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line = indent;
    for (size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += (text.empty() ? "" : "\n") + line;
  }
  return text;
}

// The words themselves where only some are allowed: "pairs|rotations", else "number".
static std::string type_text(const Json& parameter) {
  std::string words;
  for (const Json& choice : parameter.value("choices", Json::array())) {
    if (!words.empty()) words += '|';
    words += choice.get<std::string>();
  }
  return words.empty() ? parameter.value("type", "") : words;
}

std::string parameters_text(const Json& parameters, const std::string& indent) {
  std::vector<std::array<std::string, 4>> rows;
  for (const Json& parameter : parameters) {
    std::string preset = "-";
    if (parameter.contains("from_model")) {
      preset = "from the model: " + parameter["from_model"].get<std::string>();
    } else if (parameter.contains("default") && !parameter["default"].is_null()) {
      preset = parameter["default"].dump();
    } else if (parameter.value("required", false)) {
      preset = "required";
    }
    rows.push_back(
        {parameter.value("name", ""), type_text(parameter), preset, parameter.value("help", "")});
  }
  return word_table(rows, indent);
}

int list_plugins(const okapi_runtime* runtime, const std::string& kind, bool is_json) {
  Json found = parse_json(api::text(okapi_runtime_plugins, runtime));
  if (!kind.empty()) {
    Json of_kind = Json::array();
    for (const Json& plugin : found.at("plugins")) {
      if (plugin.value("kind", "") == kind) of_kind.push_back(plugin);
    }
    found["plugins"] = of_kind;
  }
  if (is_json) {
    print_json(found);
    return kExitOk;
  }
  std::vector<std::array<std::string, 4>> rows;
  for (const Json& plugin : found.at("plugins")) {
    rows.push_back({plugin.value("kind", ""), plugin.value("name", ""), plugin.value("version", ""),
                    plugin.value("summary", "")});
  }
  std::sort(rows.begin(), rows.end());
  if (!rows.empty()) print_line(word_table(rows, ""));
  for (const Json& refused : found.at("refused")) {
    print_line(
        fmt::format("refused  {}: {}", refused.value("file", ""), refused.value("reason", "")));
  }
  return kExitOk;
}

namespace {

struct PluginArguments {
  RuntimeArguments runtime;
  std::string target;  ///< a file, or a plugin's name
  bool is_json = false;
};

// Metadata of a file, or of a plugin that was found, by its name or id.
std::vector<Json> metadata_of(const PluginArguments& arguments) {
  if (std::filesystem::exists(arguments.target)) {
    return {parse_json(api::text(okapi_plugin_info, arguments.target.c_str()))};
  }
  const auto runtime = arguments.runtime.open();
  const Json found = parse_json(api::text(okapi_runtime_plugins, runtime.get()));
  std::vector<Json> matching;
  std::vector<std::string> known;
  for (const Json& plugin : found.at("plugins")) {
    known.push_back(plugin.value("name", ""));
    if (arguments.target == plugin.value("name", "") ||
        arguments.target == plugin.value("id", "")) {
      matching.push_back(plugin);
    }
  }
  if (matching.empty()) {
    throw Failure(OKAPI_NOT_FOUND,
                  api::unknown_word_message("plugin or file", arguments.target, known));
  }
  return matching;
}

int show_plugin(const PluginArguments& arguments) {
  for (const Json& plugin : metadata_of(arguments)) {
    if (arguments.is_json) {
      print_json(plugin);
      continue;
    }
    for (const auto& [key, value] : plugin.items()) {
      if (key == "parameters") continue;
      print_line(fmt::format("{:<18} {}", key,
                             value.is_string() ? value.get<std::string>() : value.dump()));
    }
    print_line("parameters");
    const Json parameters = plugin.value("parameters", Json::array());
    print_line(parameters.empty() ? "  none" : parameters_text(parameters, "  "));
  }
  return kExitOk;
}

int check_plugin(const PluginArguments& arguments) {
  const auto runtime = arguments.runtime.open();
  const Json checked =
      parse_json(api::text(okapi_plugin_check, runtime.get(), arguments.target.c_str()));
  const bool has_passed = checked.at("passed").get<bool>();
  if (arguments.is_json) {
    print_json(checked);
  } else {
    for (const Json& check : checked.at("checks")) {
      const std::string detail = check.value("detail", "");
      print_line(fmt::format("{:<7} {}{}{}", check.value("passed", false) ? "passed" : "FAILED",
                             check.value("check", ""), detail.empty() ? "" : ": ", detail));
    }
    print_line(has_passed ? "the plugin keeps its contract"
                          : "the plugin does not keep its contract");
  }
  return has_passed ? kExitOk : kExitFailure;
}

void add_one(CLI::App& parent, const char* name, const char* help, const char* target,
             const char* target_help, int (*function)(const PluginArguments&), int* exit_code) {
  CLI::App* command = parent.add_subcommand(name, help);
  auto arguments = std::make_shared<PluginArguments>();
  command->add_option(target, arguments->target, target_help)->required();
  command->add_flag("--json", arguments->is_json, "as JSON");
  arguments->runtime.add_to(*command);
  command->callback([arguments, function, exit_code] { *exit_code = function(*arguments); });
}

}  // namespace

void add_plugins(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("plugins", "Lists, describes and checks plugins");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  okapi plugins list\n"
      "  okapi plugins info yarn\n"
      "  okapi plugins check build/my_scheme.so");

  CLI::App* list = command->add_subcommand("list", "What was found, and what was refused and why");
  auto arguments = std::make_shared<PluginArguments>();
  list->add_option("--kind", arguments->target, "only rope, dataset or task plugins")
      ->check(CLI::IsMember({"rope", "dataset", "task"}));
  list->add_flag("--json", arguments->is_json, "as JSON");
  arguments->runtime.add_to(*list);
  list->callback([arguments, exit_code] {
    const auto runtime = arguments->runtime.open();
    *exit_code = list_plugins(runtime.get(), arguments->target, arguments->is_json);
  });
  add_one(*command, "info", "What a plugin says about itself; runs none of its code", "PLUGIN",
          "name of a plugin that was found, or a file", show_plugin, exit_code);
  add_one(*command, "check",
          "Holds a plugin against the contract of its kind; exit code 1 if it fails", "FILE",
          "plugin file", check_plugin, exit_code);
}

}  // namespace okapi::cli
