// okapi info: what a model is.
#include "capi/cli/command.h"
#include "capi/cli/report_table.h"
#include "capi/cli/terminal.h"

namespace okapi::cli {

namespace {

struct InfoArguments {
  RuntimeArguments runtime;
  ModelArguments model;
  bool is_json = false;
};

int show_info(const InfoArguments& arguments) {
  const auto runtime = arguments.runtime.open();
  const auto model = arguments.model.open(runtime.get());
  const Json about = parse_json(api::text(okapi_model_describe, model.get()));
  if (arguments.is_json) {
    print_json(about);
    return kExitOk;
  }
  for (const auto& [key, value] : about.items()) {
    std::string text = cell(value, 6);
    if (key.ends_with("_bytes")) text = format_bytes(value.get<double>());
    if (value.is_object()) text = cell(value.value("path", Json()), 0);
    std::string line = key;
    line.resize(std::max<size_t>(line.size() + 2, 26), ' ');
    print_line(line + text);
  }
  return kExitOk;
}

}  // namespace

void add_info(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("info", "Shows what a model is");
  command->footer("Example:\n  okapi info models/savanna-5m --json");
  auto arguments = std::make_shared<InfoArguments>();
  arguments->model.add_to(*command, "MODEL");
  command->add_flag("--json", arguments->is_json, "as one JSON object");
  arguments->runtime.add_to(*command);
  command->callback([arguments, exit_code] { *exit_code = show_info(*arguments); });
}

}  // namespace okapi::cli
