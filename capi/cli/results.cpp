// okapi results: what a results file holds, and its export.
#include <fmt/format.h>

#include "capi/cli/command.h"
#include "capi/cli/report_table.h"
#include "capi/cli/terminal.h"
#include "capi/lua/report.h"

namespace okapi::cli {

namespace {

struct ResultsArguments {
  std::string path;
  std::string csv_file;
  std::string json_file;
  bool is_json = false;
};

Handle<okapi_results> open_results(okapi_runtime* runtime, const std::string& path) {
  okapi_results_options options = OKAPI_RESULTS_OPTIONS_INIT;
  options.read_only = 1;
  return api::make<okapi_results>(okapi_results_open, runtime, path.c_str(), &options);
}

int show_results(const ResultsArguments& arguments) {
  const auto runtime = RuntimeArguments().open();
  const auto results = open_results(runtime.get(), arguments.path);
  Json runs = parse_json(api::text(okapi_results_summary, results.get()));
  for (Json& run : runs) api::add_headline(run);
  if (arguments.is_json) {
    print_json(runs);
    return kExitOk;
  }
  for (const Json& run : runs) {
    print_line(run_title(run));
    print_line(format_table(report_rows(run)));
    print_line("");
  }
  const Json training = parse_json(api::text(okapi_results_training, results.get()));
  for (const Json& run : training) print_line(training_title(run));
  if (!training.empty()) print_line("okapi results training " + arguments.path + " has the curves");
  if (runs.empty() && training.empty()) print_line("no runs");
  return kExitOk;
}

int show_training(const ResultsArguments& arguments) {
  const auto runtime = RuntimeArguments().open();
  const auto results = open_results(runtime.get(), arguments.path);
  const Json training = parse_json(api::text(okapi_results_training, results.get()));
  if (arguments.is_json) {
    print_json(training);
    return kExitOk;
  }
  for (const Json& run : training) {
    print_line(training_title(run));
    print_line(format_table(curve_rows(run)));
    print_line("");
  }
  if (training.empty()) print_line("no training runs");
  return kExitOk;
}

int export_results(const ResultsArguments& arguments) {
  if (arguments.csv_file.empty() && arguments.json_file.empty()) {
    throw UsageError("results export: give --csv FILE or --json FILE");
  }
  const auto runtime = RuntimeArguments().open();
  const auto results = open_results(runtime.get(), arguments.path);
  if (!arguments.csv_file.empty()) {
    api::call(okapi_results_export, results.get(), OKAPI_EXPORT_CSV, arguments.csv_file.c_str());
  }
  if (!arguments.json_file.empty()) {
    api::call(okapi_results_export, results.get(), OKAPI_EXPORT_JSON, arguments.json_file.c_str());
  }
  return kExitOk;
}

}  // namespace

void add_results(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("results", "Shows and exports a results file");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  okapi results show results/rope_retrieval.db\n"
      "  okapi results training results/extend.db\n"
      "  okapi results export results/rope_retrieval.db --csv samples.csv");
  auto arguments = std::make_shared<ResultsArguments>();

  CLI::App* show = command->add_subcommand("show", "Every run with its aggregates");
  show->add_option("DB", arguments->path, "results file")->required();
  show->add_flag("--json", arguments->is_json, "as JSON");
  show->callback([arguments, exit_code] { *exit_code = show_results(*arguments); });

  CLI::App* training = command->add_subcommand("training", "The curves of every training run");
  training->add_option("DB", arguments->path, "results file")->required();
  training->add_flag("--json", arguments->is_json, "as JSON, every step");
  training->callback([arguments, exit_code] { *exit_code = show_training(*arguments); });

  CLI::App* to_file =
      command->add_subcommand("export", "Every sample, for programs that read no SQLite");
  to_file->add_option("DB", arguments->path, "results file")->required();
  to_file->add_option("--csv", arguments->csv_file, "one row per sample")->type_name("FILE");
  to_file->add_option("--json", arguments->json_file, "runs, each with its samples")
      ->type_name("FILE");
  to_file->callback([arguments, exit_code] { *exit_code = export_results(*arguments); });
}

}  // namespace okapi::cli
