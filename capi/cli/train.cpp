// okapi train: a configuration, run to its end or to Ctrl-C.
#include <cstdio>
#include <set>

#include <fmt/format.h>

#include <okapi/trainer.h>

#include "capi/cli/command.h"
#include "capi/cli/interrupt.h"
#include "capi/cli/terminal.h"
#include "capi/cli/yaml_file.h"

namespace okapi::cli {

namespace {

struct TrainArguments {
  RuntimeArguments runtime;
  std::string config_file;
  std::vector<std::string> settings;  ///< key.path=value
  std::string export_folder;
  bool resume = false;
  bool merged = false;
  bool plan = false;
  bool is_json = false;
};

// One `key.path=value` of --set, put into the configuration. Whether the schema knows the path is
// for the trainer to say, which names it. Returns the path.
std::string put_setting(YamlFile& config, const std::string& setting) {
  const size_t equals = setting.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw UsageError("--set: wanted key.path=value, found '" + setting + "'");
  }
  const std::string path = setting.substr(0, equals);
  Json* place = &config.value;
  std::string walked;
  for (const std::string& key : CLI::detail::split(path, '.')) {
    if (key.empty()) throw UsageError("--set " + path + ": a key is missing beside a dot");
    if (place->is_null()) *place = Json::object();  // absent, or `key:` without a value
    if (!place->is_object()) {
      throw UsageError("--set " + path + ": " + (walked.empty() ? "the configuration" : walked) +
                       " has no keys, it is " + place->dump());
    }
    walked += (walked.empty() ? "" : ".") + key;
    place = &(*place)[key];
  }
  *place = read_yaml(setting.substr(equals + 1), "--set " + path);
  std::erase_if(config.places, [&](const auto& known) {
    return known.first.starts_with(path + ".") || known.first.starts_with(path + "[");
  });
  config.places[path] = "--set";
  return path;
}

YamlFile read_config(const TrainArguments& arguments) {
  YamlFile config = read_yaml_file(arguments.config_file);
  std::set<std::string> paths;
  for (const std::string& setting : arguments.settings) {
    const std::string path = put_setting(config, setting);
    for (const std::string& earlier : paths) {
      if (earlier.starts_with(path + "."))
        throw UsageError("--set " + path + ": would undo --set " + earlier);
    }
    if (!paths.insert(path).second) throw UsageError("--set " + path + ": given twice");
  }
  return config;
}

int print_plan(okapi_runtime* runtime, const std::string& config, bool is_json) {
  Json plan = parse_json(api::text(okapi_trainer_plan, runtime, config.c_str()));
  const std::string text = plan.at("text").get<std::string>();
  plan.erase("text");
  if (is_json) {
    print_json(plan);
  } else {
    print_line(text);
  }
  return plan.value("fits", true) ? kExitOk : kExitFailure;
}

// Evaluations and checkpoints, a line each; steps are the progress bar's.
void print_metrics(int32_t kind, const char* text, void*) {
  const Json json = parse_json(text);
  if (kind == OKAPI_METRICS_CHECKPOINT) {
    print_line("step " + std::to_string(json.value("step", int64_t{0})) + ": saved " +
               json.value("path", ""));
  } else if (kind == OKAPI_METRICS_EVALUATION) {
    std::string line = fmt::format("step {}: evaluation loss {:.4f}",
                                   json.value("step", int64_t{0}), json.value("loss", 0.0));
    for (const Json& bucket : json.at("buckets")) {
      line += fmt::format("  {}-{}: {:.3f}", bucket.value("first_position", int64_t{0}),
                          bucket.value("last_position", int64_t{0}), bucket.value("loss", 0.0));
    }
    print_line(line);
  }
}

// False if it was interrupted.
bool run_to_end(okapi_trainer* trainer, bool is_json) {
  ProgressBar bar("training");
  okapi_train_options options = OKAPI_TRAIN_OPTIONS_INIT;
  options.progress = ProgressBar::on_progress;
  options.progress_user_data = &bar;
  if (!is_json) options.metrics = print_metrics;
  options.cancel = interrupt().token;
  try {
    api::call(okapi_trainer_run, trainer, int64_t{-1}, &options);
    return true;
  } catch (const Failure& failure) {
    if (failure.code() != OKAPI_CANCELLED) throw;
    return false;
  }
}

int train(const TrainArguments& arguments) {
  const auto runtime = arguments.runtime.open();
  const YamlFile file = read_config(arguments);
  const std::string config = file.value.dump();
  const auto in_file = [&](auto body) {
    try {
      return body();
    } catch (const Failure& failure) {
      throw placed(failure, arguments.config_file, file.places);
    }
  };
  if (arguments.plan) {
    return in_file([&] { return print_plan(runtime.get(), config, arguments.is_json); });
  }

  okapi_trainer_options options = OKAPI_TRAINER_OPTIONS_INIT;
  options.resume = arguments.resume ? 1 : 0;
  options.cancel = interrupt().token;
  Handle<okapi_trainer> trainer;
  {
    ProgressBar bar("preparing data");
    options.progress = ProgressBar::on_progress;
    options.progress_user_data = &bar;
    trainer = in_file([&] {
      return api::make<okapi_trainer>(okapi_trainer_open, runtime.get(), config.c_str(), &options);
    });
  }
  const auto merged = static_cast<uint8_t>(arguments.merged ? 1 : 0);
  if (!arguments.export_folder.empty()) {
    api::call(okapi_trainer_check_export, trainer.get(), arguments.export_folder.c_str(), merged);
  }
  const bool is_complete = run_to_end(trainer.get(), arguments.is_json);
  if (is_complete && !arguments.export_folder.empty()) {
    api::call(okapi_trainer_export, trainer.get(), arguments.export_folder.c_str(), merged);
  }

  const Json metrics = parse_json(api::text(okapi_trainer_metrics, trainer.get()));
  if (arguments.is_json) {
    print_json(metrics);
  } else if (metrics.contains("step")) {
    const Json& step = metrics.at("step");
    print_line(fmt::format("step {}: loss {:.4f}, {:.0f} tokens/s", step.value("step", int64_t{0}),
                           step.value("loss", 0.0), step.value("tokens_per_second", 0.0)));
  } else if (is_complete) {
    print_line("all steps were done before");
  }
  if (is_complete && !arguments.is_json && !arguments.export_folder.empty()) {
    print_line("exported to " + arguments.export_folder);
  }
  if (is_complete) return kExitOk;
  std::fputs(metrics.contains("checkpoint")
                 ? "okapi: interrupted; the same command with --resume goes on from there\n"
                 : "okapi: interrupted; with a checkpoint folder it could go on from here\n",
             stderr);
  return kExitInterrupted;
}

}  // namespace

void add_train(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("train", "Trains a model or an adapter");
  command->footer(
      "CONFIG is YAML (or JSON); the header okapi/trainer.h has its keys. Ctrl-C saves where there "
      "is\n"
      "a checkpoint folder. A whole one, extend.yaml:\n"
      "\n"
      "  model: models/savanna-5m\n"
      "  steps: 150\n"
      "  rope: {train: 'linear:scale=2'}\n"
      "  optimizer: {learning_rate: 5e-4}\n"
      "  batch: {tokens: 4096}\n"
      "  data: {dataset: lines, params: {training: true, style: compact, length: 1024}, length: "
      "1024}\n"
      "  checkpoint: {folder: results/extend, every: 25}\n"
      "\n"
      "Examples:\n"
      "  okapi train extend.yaml --plan\n"
      "  okapi train extend.yaml --export tuned\n"
      "  okapi train extend.yaml --set optimizer.learning_rate=5e-4 --set "
      "'rope.train=linear:scale=4'\n"
      "  okapi train extend.yaml --resume --export tuned");
  auto arguments = std::make_shared<TrainArguments>();
  command->add_option("CONFIG", arguments->config_file, "what to train")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--set", arguments->settings,
                   "put a value (YAML) into the configuration; may be given again")
      ->type_name("KEY.PATH=VALUE")
      ->allow_extra_args(false);
  CLI::Option* resume = command->add_flag("--resume", arguments->resume,
                                          "go on from the newest checkpoint, if there is one");
  CLI::Option* folder = command
                            ->add_option("--export", arguments->export_folder,
                                         "write the model or the adapter to this folder at the end")
                            ->type_name("FOLDER");
  command->add_flag("--merged", arguments->merged, "export the model with the adapter in it")
      ->needs(folder);
  command
      ->add_flag("--plan", arguments->plan,
                 "only say what it will take; exit code 1 if it does not fit")
      ->excludes(resume)
      ->excludes(folder);
  command->add_flag("--json", arguments->is_json, "the last metrics, or the plan, as JSON");
  arguments->runtime.add_to(*command);
  command->callback([arguments, exit_code] { *exit_code = train(*arguments); });
}

}  // namespace okapi::cli
