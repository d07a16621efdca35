// okapi delta: a tuned model as its difference from its base.
#include "capi/cli/command.h"
#include "capi/cli/description.h"
#include "capi/cli/interrupt.h"
#include "capi/cli/terminal.h"

namespace okapi::cli {

namespace {

struct DeltaArguments {
  std::string base;
  std::string tuned;
  std::string delta;
  std::string out;
  std::string dtype;
  bool is_json = false;
};

/// Options of a call, with a bar that shows how far it is.
struct DeltaCall {
  DeltaCall(const char* title, const DeltaArguments& arguments) : bar(title) {
    options.dtype = dtype_named(arguments.dtype);
    options.progress = ProgressBar::on_progress;
    options.progress_user_data = &bar;
    options.cancel = interrupt().token;
  }
  DeltaCall(const DeltaCall&) = delete;
  DeltaCall& operator=(const DeltaCall&) = delete;

  ProgressBar bar;
  okapi_delta_options options = OKAPI_DELTA_OPTIONS_INIT;
};

int make(const DeltaArguments& arguments) {
  const DeltaCall call("subtracting", arguments);
  api::call(okapi_delta_make, arguments.base.c_str(), arguments.tuned.c_str(),
            arguments.out.c_str(), &call.options);
  return kExitOk;
}

int check(const DeltaArguments& arguments) {
  std::string text;
  {
    const DeltaCall call("hashing", arguments);
    text = api::text(okapi_delta_check, arguments.base.c_str(), arguments.delta.c_str(),
                     &call.options);
  }
  const Json about = parse_json(text);
  if (arguments.is_json) {
    print_json(about);
  } else {
    print_description(about);
  }
  return kExitOk;
}

int apply(const DeltaArguments& arguments) {
  const DeltaCall call("adding", arguments);
  api::call(okapi_delta_apply, arguments.base.c_str(), arguments.delta.c_str(),
            arguments.out.c_str(), &call.options);
  return kExitOk;
}

void add_folder(CLI::App& command, const char* name, std::string& path, const char* help) {
  command.add_option(name, path, help)->required()->type_name("FOLDER");
}

void add_dtype(CLI::App& command, std::string& dtype, const char* help) {
  command.add_option("--dtype", dtype, help)->check(CLI::IsMember({"f32", "f16", "bf16"}));
}

void add_make(CLI::App& delta, int* exit_code) {
  CLI::App* command = delta.add_subcommand("make", "Writes tuned - base");
  command->footer("Example:\n  okapi delta make --base base --tuned tuned --out delta");
  auto arguments = std::make_shared<DeltaArguments>();
  add_folder(*command, "--base", arguments->base, "model that was tuned");
  add_folder(*command, "--tuned", arguments->tuned, "model that came of it");
  add_folder(*command, "--out", arguments->out, "folder to write the delta to");
  add_dtype(*command, arguments->dtype, "of the differences (default: f16)");
  command->callback([arguments, exit_code] { *exit_code = make(*arguments); });
}

void add_check(CLI::App& delta, int* exit_code) {
  CLI::App* command =
      delta.add_subcommand("check", "Tells whether a delta belongs to a base, and what it is");
  command->footer("Example:\n  okapi delta check --base base --delta delta --json");
  auto arguments = std::make_shared<DeltaArguments>();
  add_folder(*command, "--base", arguments->base, "model to apply it to");
  add_folder(*command, "--delta", arguments->delta, "folder of the delta");
  command->add_flag("--json", arguments->is_json, "as one JSON object");
  command->callback([arguments, exit_code] { *exit_code = check(*arguments); });
}

void add_apply(CLI::App& delta, int* exit_code) {
  CLI::App* command = delta.add_subcommand("apply", "Writes base + delta, the tuned model");
  command->footer(
      "Refused unless the base is the very one that the delta was made from.\n"
      "\n"
      "Example:\n"
      "  okapi delta apply --base base --delta delta --out tuned");
  auto arguments = std::make_shared<DeltaArguments>();
  add_folder(*command, "--base", arguments->base, "model that was tuned");
  add_folder(*command, "--delta", arguments->delta, "folder of the delta");
  add_folder(*command, "--out", arguments->out, "folder to write the model to");
  add_dtype(*command, arguments->dtype, "of the weights (default: as the base has them)");
  command->callback([arguments, exit_code] { *exit_code = apply(*arguments); });
}

}  // namespace

void add_delta(CLI::App& app, int* exit_code) {
  CLI::App* command =
      app.add_subcommand("delta", "Makes, checks and applies differences from a base model");
  command->footer(
      "Examples:\n"
      "  okapi delta make --base base --tuned tuned --out delta\n"
      "  okapi delta apply --base base --delta delta --out restored");
  command->require_subcommand(1);
  add_make(*command, exit_code);
  add_check(*command, exit_code);
  add_apply(*command, exit_code);
}

}  // namespace okapi::cli
