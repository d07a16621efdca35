// okapi generate: a prompt, continued.
#include <cstdio>
#include <iostream>
#include <iterator>

#include "capi/cli/command.h"
#include "capi/cli/interrupt.h"
#include "capi/lua/tokens.h"

namespace okapi::cli {

namespace {

struct GenerateArguments {
  RuntimeArguments runtime;
  ModelArguments model;
  RopeArguments rope;
  AdapterArguments adapter;
  std::string prompt;
  bool has_prompt = false;
  int64_t max_tokens = 256;
  float temperature = 0;
  int64_t top_k = 0;
  float top_p = 1;
  uint64_t seed = 1;
  std::vector<std::string> stop_texts;
  bool ignore_eos = false;
  bool is_json = false;
};

const char* stop_name(int32_t reason) {
  switch (reason) {
    case OKAPI_STOP_LENGTH:
      return "length";
    case OKAPI_STOP_EOS:
      return "eos";
    case OKAPI_STOP_TEXT:
      return "text";
    default:
      return "none";
  }
}

/// okapi_token_callback: shows text as it comes, and keeps it.
struct Output {
  std::string text;
  bool is_streaming;

  static int32_t on_token(int32_t, const char* text, size_t n_bytes, void* user_data) {
    auto& output = *static_cast<Output*>(user_data);
    output.text.append(text, n_bytes);
    if (!output.is_streaming) return 0;
    // A closed pipe ends the generation rather than going on unheard.
    return std::fwrite(text, 1, n_bytes, stdout) == n_bytes && std::fflush(stdout) == 0 ? 0 : 1;
  }
};

std::string prompt_of(const GenerateArguments& arguments) {
  if (arguments.has_prompt) return arguments.prompt;
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

int generate(const GenerateArguments& arguments) {
  const auto runtime = arguments.runtime.open();
  const auto model = arguments.model.open(runtime.get());
  const auto rope = arguments.rope.open(model.get());
  const auto adapter = arguments.adapter.open(model.get());
  const auto tokenizer = api::make<okapi_tokenizer>(okapi_model_get_tokenizer, model.get());
  okapi_model_info info = OKAPI_MODEL_INFO_INIT;
  api::call(okapi_model_get_info, model.get(), &info);
  const std::vector<int32_t> prompt =
      api::encode(tokenizer.get(), prompt_of(arguments), info.bos_id >= 0);

  okapi_session_options session_options = OKAPI_SESSION_OPTIONS_INIT;
  session_options.rope = rope.get();
  session_options.adapter = adapter.get();
  session_options.rope_length = arguments.rope.declared_length(OKAPI_ROPE_LENGTH_AUTO);
  const auto session =
      api::make<okapi_session>(okapi_session_create, model.get(), &session_options);

  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  options.max_tokens = arguments.max_tokens;
  options.temperature = arguments.temperature;
  options.top_k = arguments.top_k;
  options.top_p = arguments.top_p;
  options.seed = arguments.seed;
  options.ignore_eos = arguments.ignore_eos ? 1 : 0;
  std::vector<const char*> stop_texts;
  for (const std::string& text : arguments.stop_texts) stop_texts.push_back(text.c_str());
  options.stop_texts = stop_texts.data();
  options.n_stop_texts = stop_texts.size();
  Output output{{}, !arguments.is_json};
  options.on_token = Output::on_token;
  options.on_token_user_data = &output;
  options.cancel = interrupt().token;

  std::vector<int32_t> ids(static_cast<size_t>(arguments.max_tokens));
  size_t n_ids = 0;
  int32_t stop_reason = OKAPI_STOP_NONE;
  api::call(okapi_session_generate, session.get(), prompt.data(),
            static_cast<int64_t>(prompt.size()), &options, ids.data(), ids.size(), &n_ids,
            &stop_reason);
  ids.resize(n_ids);
  if (!arguments.is_json) {
    print_line("");
    return kExitOk;
  }
  print_json({{"output", output.text},
              {"output_ids", ids},
              {"stop", stop_name(stop_reason)},
              {"n_prompt_tokens", prompt.size()},
              {"session", parse_json(api::text(okapi_session_describe, session.get()))}});
  return kExitOk;
}

}  // namespace

void add_generate(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("generate", "Continues a prompt");
  command->footer(
      "Text streams to standard output as it is made. Greedy unless a temperature is given.\n"
      "\n"
      "Examples:\n"
      "  okapi generate models/savanna-5m -p 'The lion' --max-tokens 40 --temperature 0.8 --seed "
      "7\n"
      "  cat prompt.txt | okapi generate models/savanna-5m --rope yarn:scale=4 --stop '>' --json\n"
      "  okapi generate models/savanna-5m --adapter adapters/chat -p 'The lion'");
  auto arguments = std::make_shared<GenerateArguments>();
  arguments->model.add_to(*command, "MODEL");
  CLI::Option* prompt =
      command->add_option("-p,--prompt", arguments->prompt, "the prompt (default: standard input)")
          ->type_name("TEXT");
  arguments->rope.add_to(*command);
  arguments->adapter.add_to(*command);
  command->add_option("--max-tokens", arguments->max_tokens, "most tokens to generate")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--temperature", arguments->temperature, "0: greedy")
      ->check(non_negative(Number::real))
      ->type_name("T")
      ->capture_default_str();
  command->add_option("--top-k", arguments->top_k, "choose among the K likeliest; 0: all")
      ->check(non_negative())
      ->type_name("K")
      ->capture_default_str();
  command->add_option("--top-p", arguments->top_p, "choose among the likeliest that make up P")
      ->check(CLI::Range(1e-6, 1.0))
      ->type_name("P")
      ->capture_default_str();
  command->add_option("--seed", arguments->seed, "of the sampler")
      ->check(non_negative(Number::seed))
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--stop", arguments->stop_texts, "text that ends the output; may be given again")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command->add_flag("--ignore-eos", arguments->ignore_eos, "go on after an end of text");
  command->add_flag("--json", arguments->is_json, "one JSON object instead of text");
  arguments->runtime.add_to(*command);
  command->callback([arguments, prompt, exit_code] {
    arguments->has_prompt = prompt->count() > 0;
    *exit_code = generate(*arguments);
  });
}

}  // namespace okapi::cli
