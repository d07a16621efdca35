// okapi data: datasets made into files of tokens, to train on.
#include <fmt/format.h>

#include "capi/cli/command.h"
#include "capi/cli/interrupt.h"
#include "capi/cli/plugin_parameters.h"
#include "capi/cli/terminal.h"

namespace okapi::cli {

namespace {

struct PrepareArguments {
  RuntimeArguments runtime;
  std::string config_file;
  std::string dataset;
  std::vector<std::string> parameters;  ///< key=value
  std::string bos;
  bool eos = false;
  int64_t length = 0;
  uint64_t seed = 1;
  std::string tokenizer_path;
  std::string out_file;
  bool is_json = false;
};

struct DataInfoArguments {
  RuntimeArguments runtime;
  std::string path;
  bool verify = false;
  bool is_json = false;
};

std::string config_of(const PrepareArguments& arguments, const okapi_runtime* runtime) {
  if (!arguments.config_file.empty()) return read_file(arguments.config_file);
  Json params = Json::object();
  add_plugin_parameters(params, arguments.parameters, runtime, "dataset", arguments.dataset);
  Json config = {{"dataset", arguments.dataset}, {"params", params}, {"seed", arguments.seed}};
  if (!arguments.bos.empty()) config["bos"] = arguments.bos;
  if (arguments.eos) config["eos"] = true;
  if (arguments.length > 0) config["length"] = arguments.length;
  return config.dump();
}

// Numbers in groups of three digits.
std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), 1, ' ');
  }
  return digits;
}

void print_tokens(okapi_runtime* runtime, const std::string& path, bool verify, bool is_json) {
  const Json about = parse_json(api::text(okapi_tokens_describe, runtime, path.c_str(),
                                          static_cast<uint8_t>(verify ? 1 : 0)));
  if (is_json) return print_json(about);
  const Json& dataset = about.at("dataset");
  const Json& documents = about.at("documents");
  const auto line = [](const char* key, const std::string& value) {
    print_line(fmt::format("{:<12}{}", key, value));
  };
  line("file", path);
  line("documents", grouped(about.value("n_documents", int64_t{0})) + " from " +
                        grouped(dataset.value("count", int64_t{0})) + " records");
  line("tokens", grouped(about.value("n_tokens", int64_t{0})) + ", learned " +
                     grouped(about.value("n_learned", int64_t{0})));
  line("dataset", dataset.at("plugin").value("id", "") + " " +
                      dataset.at("plugin").value("version", "") + " " +
                      dataset.at("parameters").dump());
  line("tokenizer", documents.at("tokenizer").value("sha256", ""));
  line("sha256", about.value("sha256", "") + (verify ? " (verified)" : ""));
}

int prepare(const PrepareArguments& arguments) {
  const auto runtime = arguments.runtime.open();
  const auto tokenizer = api::make<okapi_tokenizer>(okapi_tokenizer_open, runtime.get(),
                                                    arguments.tokenizer_path.c_str());
  const std::string config = config_of(arguments, runtime.get());
  okapi_tokens_options options = OKAPI_TOKENS_OPTIONS_INIT;
  options.seed = arguments.seed;
  options.cancel = interrupt().token;
  {
    ProgressBar bar("preparing");
    options.progress = ProgressBar::on_progress;
    options.progress_user_data = &bar;
    try {
      api::call(okapi_tokens_prepare, runtime.get(), tokenizer.get(), config.c_str(),
                arguments.out_file.c_str(), &options);
    } catch (const Failure& failure) {
      if (arguments.config_file.empty()) throw;
      throw placed(failure, arguments.config_file);
    }
  }
  print_tokens(runtime.get(), arguments.out_file, false, arguments.is_json);
  return kExitOk;
}

void add_prepare(CLI::App& data, int* exit_code) {
  CLI::App* command =
      data.add_subcommand("prepare", "Makes a dataset into a file of tokens, to train on");
  command->footer(
      "A file appears under its name when it is whole; Ctrl-C leaves what stood there. Training "
      "reads "
      "it as\n"
      "{\"tokens\": FILE, \"length\": N}. CONFIG is a JSON object with dataset, params, seed, bos, "
      "eos, "
      "system and,\n"
      "for conversations, length.\n"
      "\n"
      "Examples:\n"
      "  okapi data prepare --tokenizer models/savanna-5m --dataset jsonl --param path=corpus/ \\\n"
      "    --param min_characters=20481 --bos none --out corpus.tokens\n"
      "  okapi data prepare --tokenizer models/savanna-5m --config data.json --out chats.tokens");
  auto arguments = std::make_shared<PrepareArguments>();
  CLI::Option* config =
      command->add_option("--config", arguments->config_file, "all in a file")->type_name("CONFIG");
  CLI::Option* dataset =
      command->add_option("--dataset", arguments->dataset, "name of a dataset plugin")
          ->type_name("NAME")
          ->excludes(config);
  command
      ->add_option("--param", arguments->parameters,
                   "parameter of the dataset (okapi plugins info NAME); may be given again")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false)
      ->needs(dataset);
  command->add_option("--bos", arguments->bos, "before each document (default: document)")
      ->check(CLI::IsMember({"document", "none"}))
      ->needs(dataset);
  command->add_flag("--eos", arguments->eos, "end each text with the end-of-sequence token")
      ->needs(dataset);
  command
      ->add_option("--length", arguments->length,
                   "split conversations, between rounds, to so many tokens")
      ->check(positive())
      ->type_name("N")
      ->needs(dataset);
  command->add_option("--seed", arguments->seed, "of the dataset (default: 1)")
      ->check(non_negative(Number::seed))
      ->type_name("N");
  command->add_option("--tokenizer", arguments->tokenizer_path, "model folder, or tokenizer file")
      ->required()
      ->type_name("PATH");
  command->add_option("--out", arguments->out_file, "file to write")->required()->type_name("FILE");
  command->add_flag("--json", arguments->is_json, "what was written, as JSON");
  arguments->runtime.add_to(*command);
  command->callback([arguments, exit_code] {
    if (arguments->config_file.empty() && arguments->dataset.empty()) {
      throw UsageError("wanted --dataset or --config");
    }
    *exit_code = prepare(*arguments);
  });
}

void add_tokens_info(CLI::App& data, int* exit_code) {
  CLI::App* command = data.add_subcommand("info", "Shows what a file of tokens holds");
  command->footer("Example:\n  okapi data info corpus.tokens --verify");
  auto arguments = std::make_shared<DataInfoArguments>();
  command->add_option("FILE", arguments->path, "file of tokens")->required()->type_name("FILE");
  command->add_flag("--verify", arguments->verify, "read all of it and compare its SHA-256");
  command->add_flag("--json", arguments->is_json, "as one JSON object");
  arguments->runtime.add_to(*command);
  command->callback([arguments, exit_code] {
    const auto runtime = arguments->runtime.open();
    print_tokens(runtime.get(), arguments->path, arguments->verify, arguments->is_json);
    *exit_code = kExitOk;
  });
}

}  // namespace

void add_data(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("data", "Prepares training data");
  command->footer(
      "Examples:\n"
      "  okapi data prepare --tokenizer models/savanna-5m --dataset text --param path=README.md "
      "--out readme.tokens\n"
      "  okapi data info readme.tokens");
  command->require_subcommand(1);
  add_prepare(*command, exit_code);
  add_tokens_info(*command, exit_code);
}

}  // namespace okapi::cli
