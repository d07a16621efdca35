// okapi adapter: what a LoRA adapter is, and base and adapter made into one model.
#include "capi/cli/command.h"
#include "capi/cli/description.h"
#include "capi/cli/interrupt.h"
#include "capi/cli/terminal.h"

namespace okapi::cli {

namespace {

struct AdapterInfoArguments {
  RuntimeArguments runtime;
  ModelArguments model;
  std::string path;
  bool is_json = false;
};

struct MergeArguments {
  std::string base;
  std::string adapter;
  std::string out;
  std::string dtype;
};

int show_adapter(const AdapterInfoArguments& arguments) {
  const auto runtime = arguments.runtime.open();
  const auto model = arguments.model.open(runtime.get());
  const auto adapter =
      api::make<okapi_adapter>(okapi_adapter_open, model.get(), arguments.path.c_str());
  const Json about = parse_json(api::text(okapi_adapter_describe, adapter.get()));
  if (arguments.is_json) {
    print_json(about);
  } else {
    print_description(about);
  }
  return kExitOk;
}

int merge(const MergeArguments& arguments) {
  ProgressBar bar("merging");
  okapi_merge_options options = OKAPI_MERGE_OPTIONS_INIT;
  options.dtype = dtype_named(arguments.dtype);
  options.progress = ProgressBar::on_progress;
  options.progress_user_data = &bar;
  options.cancel = interrupt().token;
  api::call(okapi_adapter_merge, arguments.base.c_str(), arguments.adapter.c_str(),
            arguments.out.c_str(), &options);
  return kExitOk;
}

void add_adapter_info(CLI::App& adapter, int* exit_code) {
  CLI::App* command = adapter.add_subcommand("info", "Shows what an adapter is, beside its model");
  command->footer("Example:\n  okapi adapter info adapters/chat --model models/savanna-5m --json");
  auto arguments = std::make_shared<AdapterInfoArguments>();
  command->add_option("ADAPTER", arguments->path, "peft folder")->required()->type_name("FOLDER");
  arguments->model.add_to(*command, "--model");
  command->add_flag("--json", arguments->is_json, "as one JSON object");
  arguments->runtime.add_to(*command);
  command->callback([arguments, exit_code] { *exit_code = show_adapter(*arguments); });
}

void add_merge(CLI::App& adapter, int* exit_code) {
  CLI::App* command =
      adapter.add_subcommand("merge", "Writes a model with an adapter in its weights");
  command->footer(
      "The folder written is a model like any other. Ctrl-C leaves no half-written file.\n"
      "\n"
      "Example:\n"
      "  okapi adapter merge --model models/savanna-5m --adapter adapters/chat --out merged");
  auto arguments = std::make_shared<MergeArguments>();
  command->add_option("--model", arguments->base, "base model folder")
      ->required()
      ->type_name("FOLDER");
  command->add_option("--adapter", arguments->adapter, "peft folder")
      ->required()
      ->type_name("FOLDER");
  command->add_option("--out", arguments->out, "folder to write, neither of the two")
      ->required()
      ->type_name("FOLDER");
  command
      ->add_option("--dtype", arguments->dtype,
                   "of the weights that change (default: as the base has them)")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  command->callback([arguments, exit_code] { *exit_code = merge(*arguments); });
}

}  // namespace

void add_adapter(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("adapter", "Shows and merges LoRA adapters");
  command->footer(
      "To use one without merging, give --adapter to generate, logits or eval.\n"
      "\n"
      "Example:\n"
      "  okapi adapter merge --model models/savanna-5m --adapter adapters/chat --out merged");
  command->require_subcommand(1);
  add_adapter_info(*command, exit_code);
  add_merge(*command, exit_code);
}

}  // namespace okapi::cli
