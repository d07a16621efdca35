// okapi eval: a task, a model, a scheme; one table.
#include <cstdio>

#include <fmt/format.h>

#include "capi/cli/command.h"
#include "capi/cli/interrupt.h"
#include "capi/cli/plugin_parameters.h"
#include "capi/cli/report_table.h"
#include "capi/cli/terminal.h"
#include "capi/lua/report.h"

namespace okapi::cli {

namespace {

struct EvalArguments {
  RuntimeArguments runtime;
  ModelArguments model;
  RopeArguments rope;
  AdapterArguments adapter;
  std::string task;
  std::string prompts_file;
  std::vector<std::string> parameters;  ///< key=value
  int64_t length = 0;
  int64_t n_samples = 0;
  uint64_t seed = 1;
  std::string results_file;
  int32_t batch_size = 0;
  bool is_deterministic = false;
  bool is_json = false;
};

Json task_parameters(const EvalArguments& arguments, const okapi_runtime* runtime) {
  Json parameters = Json::object();
  if (arguments.length > 0) parameters["length"] = arguments.length;
  if (arguments.n_samples > 0) parameters["n_samples"] = arguments.n_samples;
  add_plugin_parameters(parameters, arguments.parameters, runtime, "task", arguments.task);
  return parameters;
}

Handle<okapi_task> open_task(const EvalArguments& arguments, okapi_runtime* runtime,
                             okapi_model* model) {
  const auto tokenizer = api::make<okapi_tokenizer>(okapi_model_get_tokenizer, model);
  const std::string parameters = task_parameters(arguments, runtime).dump();
  if (!arguments.prompts_file.empty()) {
    const std::string prompts = read_file(arguments.prompts_file);
    return api::make<okapi_task>(okapi_task_open_prompts, runtime, arguments.task.c_str(),
                                 parameters.c_str(), prompts.c_str(), tokenizer.get());
  }
  return api::make<okapi_task>(okapi_task_open, runtime, arguments.task.c_str(), parameters.c_str(),
                               arguments.seed, tokenizer.get(), nullptr);
}

// False if it was interrupted; what is finished is in the results file and in the report.
bool run_to_end(okapi_evaluation* evaluation) {
  ProgressBar bar("evaluating");
  okapi_run_options options = OKAPI_RUN_OPTIONS_INIT;
  options.progress = ProgressBar::on_progress;
  options.progress_user_data = &bar;
  options.cancel = interrupt().token;
  try {
    api::call(okapi_evaluation_run, evaluation, &options);
    return true;
  } catch (const Failure& failure) {
    if (failure.code() != OKAPI_CANCELLED) throw;
    return false;
  }
}

int evaluate_task(const EvalArguments& arguments) {
  const auto runtime = arguments.runtime.open();
  const auto model = arguments.model.open(runtime.get());
  const auto rope = arguments.rope.open(model.get());
  const auto adapter = arguments.adapter.open(model.get());
  const auto task = open_task(arguments, runtime.get(), model.get());
  Handle<okapi_results> results;
  if (!arguments.results_file.empty()) {
    results = api::make<okapi_results>(okapi_results_open, runtime.get(),
                                       arguments.results_file.c_str(), nullptr);
  }
  okapi_evaluation_options options = OKAPI_EVALUATION_OPTIONS_INIT;
  options.rope = rope.get();
  options.adapter = adapter.get();
  options.rope_length = arguments.rope.declared_length(OKAPI_ROPE_LENGTH_AUTO);
  options.results = results.get();
  options.batch_size = arguments.batch_size;
  options.deterministic = arguments.is_deterministic ? 1 : 0;
  const auto evaluation =
      api::make<okapi_evaluation>(okapi_evaluation_create, task.get(), model.get(), &options);
  const bool is_complete = run_to_end(evaluation.get());

  Json report = parse_json(api::text(okapi_evaluation_report, evaluation.get()));
  api::add_headline(report);
  if (arguments.is_json) {
    print_json(report);
  } else {
    print_line(format_table(report_rows(report)));
  }
  if (is_complete) return kExitOk;
  std::fputs(fmt::format("okapi: interrupted after {} of {} samples{}\n", report.value("n_done", 0),
                         report.value("n_items", 0),
                         results == nullptr ? "; with --results they would have been kept"
                                            : "; the same command goes on from there")
                 .c_str(),
             stderr);
  return kExitInterrupted;
}

int evaluate(const EvalArguments& arguments) {
  try {
    return evaluate_task(arguments);
  } catch (const Failure& failure) {
    // Prompts are read one by one while others are answered; messages call them by the argument
    // that they were given as.
    const auto is_about_prompts = [](const std::string& text) {
      return text.starts_with("prompts_json");
    };
    if (!is_about_prompts(failure.file()) && !is_about_prompts(failure.field())) throw;
    throw Failure(failure.code(), arguments.prompts_file + ": " + failure.message());
  }
}

}  // namespace

void add_eval(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("eval", "Puts a task to a model under a position scheme");
  command->footer(
      "Prints the task's first metric, in all and by group, with Wilson 95 % intervals for rates. "
      "With\n"
      "--results each sample is kept as it finishes, and a run that was interrupted goes on where "
      "it stopped.\n"
      "--prompts takes a JSON array of objects with `prompt` and `expected`; samples come out in "
      "its order.\n"
      "Under --rope-length follow they are read as one model object of transformers reads them: at "
      "no less than\nthe longest input before, back to a prompt within the trained length.\n"
      "\n"
      "Examples:\n"
      "  okapi eval --model models/savanna-5m --task lines --param style=compact --length 1024 "
      "--samples 24 \\\n"
      "    --rope yarn:scale=4 --results results/lines.db\n"
      "  okapi eval --model models/savanna-5m --task lines --prompts prompts.json --rope yarn "
      "--json\n"
      "  okapi eval --model models/savanna-5m --adapter adapters/long --task lines --length 1024");
  auto arguments = std::make_shared<EvalArguments>();
  arguments->model.add_to(*command, "--model");
  command->add_option("--task", arguments->task, "name of a task plugin (okapi plugins list)")
      ->required()
      ->type_name("NAME");
  CLI::Option* prompts = command
                             ->add_option("--prompts", arguments->prompts_file,
                                          "prompts that are given instead of made")
                             ->type_name("FILE");
  command
      ->add_option("--param", arguments->parameters,
                   "parameter of the task (okapi plugins info NAME); may be given again")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command->add_option("--length", arguments->length, "length of the prompts in tokens")
      ->check(positive())
      ->type_name("N")
      ->excludes(prompts);
  command->add_option("--samples", arguments->n_samples, "number of prompts")
      ->check(positive())
      ->type_name("N")
      ->excludes(prompts);
  command->add_option("--seed", arguments->seed, "of the prompts (default: 1)")
      ->check(non_negative(Number::seed))
      ->type_name("N")
      ->excludes(prompts);
  arguments->rope.add_to(*command);
  arguments->adapter.add_to(*command);
  command->add_option("--results", arguments->results_file, "SQLite file that keeps every sample")
      ->type_name("DB");
  command
      ->add_option("--batch", arguments->batch_size,
                   "most sequences in flight (default: what suits)")
      ->check(positive())
      ->type_name("N");
  command->add_flag("--deterministic", arguments->is_deterministic,
                    "the same answers to the bit at every batch size; slower");
  command->add_flag("--json", arguments->is_json, "the whole report, samples included");
  arguments->runtime.add_to(*command);
  command->callback([arguments, exit_code] { *exit_code = evaluate(*arguments); });
}

}  // namespace okapi::cli
