// okapi info: what a model is.
#include <filesystem>
#include <system_error>

#include "capi/cli/command.h"
#include "capi/cli/description.h"

namespace okapi::cli {

namespace {

struct InfoArguments {
  RuntimeArguments runtime;
  ModelArguments model;
  bool is_json = false;
};

// A peft folder has no config.json: say what it is rather than what it lacks.
void check_is_model(const std::string& path) {
  std::error_code ignored;
  const std::filesystem::path folder = path;
  if (!std::filesystem::exists(folder / "adapter_config.json", ignored) ||
      std::filesystem::exists(folder / "config.json", ignored)) {
    return;
  }
  throw Failure(OKAPI_INVALID_ARGUMENT, path +
                                            ": is an adapter; see it beside its model: okapi "
                                            "adapter info " +
                                            path + " --model BASE");
}

int show_info(const InfoArguments& arguments) {
  check_is_model(arguments.model.path);
  const auto runtime = arguments.runtime.open();
  const auto model = arguments.model.open(runtime.get());
  const Json about = parse_json(api::text(okapi_model_describe, model.get()));
  if (arguments.is_json) {
    print_json(about);
    return kExitOk;
  }
  print_description(about);
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
