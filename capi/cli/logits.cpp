// okapi logits: the logits of given ids, for comparison with anything else.
#include <algorithm>
#include <charconv>

#include "capi/cli/command.h"
#include "capi/cli/interrupt.h"
#include "capi/cli/safetensors_file.h"
#include "capi/cli/terminal.h"

namespace okapi::cli {

namespace {

struct LogitsArguments {
  RuntimeArguments runtime;
  ModelArguments model;
  RopeArguments rope;
  AdapterArguments adapter;
  std::string ids_file;
  std::string positions_file;
  std::string out_file;
  int64_t chunk = 0;
  bool raw_keys = false;
};

// Numbers separated by blanks, tabs and line ends.
template <class Number>
std::vector<Number> read_numbers(const std::string& path, const char* what) {
  const std::string text = read_file(path);
  std::vector<Number> numbers;
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto is_blank = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
  while (true) {
    at = std::find_if_not(at, end, is_blank);
    if (at == end) break;
    Number number{};
    const auto parsed = std::from_chars(at, end, number);
    const char* word_end = std::find_if(at, end, is_blank);
    if (parsed.ec != std::errc() || parsed.ptr != word_end) {
      const auto line = 1 + std::count(text.data(), at, '\n');
      throw Failure(OKAPI_INVALID_ARGUMENT, path + ":" + std::to_string(line) + ": wanted " + what +
                                                ", found '" + std::string(at, word_end) + "'");
    }
    numbers.push_back(number);
    at = word_end;
  }
  if (numbers.empty()) throw Failure(OKAPI_INVALID_ARGUMENT, path + ": has no numbers");
  return numbers;
}

// One call if its logits fit well into memory, since that is what others compute; else in pieces.
int64_t tokens_per_call(int64_t chosen, int64_t n_tokens, int64_t vocab_size) {
  constexpr int64_t kMostLogits = int64_t{64} << 20;  // 256 MB
  if (chosen > 0) return std::min(chosen, n_tokens);
  return std::clamp<int64_t>(kMostLogits / vocab_size, 1, n_tokens);
}

Handle<okapi_session> open_session(okapi_model* model, const okapi_session_options& options,
                                   const std::string& positions_file) {
  try {
    auto session = api::make<okapi_session>(okapi_session_create, model, &options);
    api::call(okapi_session_set_cancel, session.get(), interrupt().token);
    return session;
  } catch (const Failure& failure) {
    if (failure.field() != "positions") throw;
    throw placed(failure, positions_file);
  }
}

int write_logits(const LogitsArguments& arguments) {
  const auto ids = read_numbers<int32_t>(arguments.ids_file, "a token id");
  std::vector<double> positions;
  if (!arguments.positions_file.empty()) {
    positions = read_numbers<double>(arguments.positions_file, "a position");
  }
  const auto n_tokens = static_cast<int64_t>(ids.size());
  if (!positions.empty() && positions.size() != ids.size()) {
    throw Failure(OKAPI_INVALID_ARGUMENT, arguments.positions_file + ": has " +
                                              std::to_string(positions.size()) + " positions for " +
                                              std::to_string(ids.size()) + " ids");
  }

  const auto runtime = arguments.runtime.open();
  const auto model = arguments.model.open(runtime.get());
  const auto rope = arguments.rope.open(model.get());
  const auto adapter = arguments.adapter.open(model.get());
  okapi_model_info info = OKAPI_MODEL_INFO_INIT;
  api::call(okapi_model_get_info, model.get(), &info);

  okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
  options.rope = rope.get();
  options.adapter = adapter.get();
  options.rope_length = arguments.rope.declared_length(n_tokens);
  options.prefill_chunk = arguments.chunk;
  options.raw_keys = arguments.raw_keys ? 1 : 0;
  options.positions = positions.empty() ? nullptr : positions.data();
  options.n_positions = positions.size();
  const auto session = open_session(model.get(), options, arguments.positions_file);

  const int64_t step = tokens_per_call(arguments.chunk, n_tokens, info.vocab_size);
  std::vector<float> logits(static_cast<size_t>(step * info.vocab_size));
  SafetensorsFile file(arguments.out_file, "logits", {n_tokens, info.vocab_size},
                       {{"format", "pt"},
                        {"okapi", okapi_version_string()},
                        {"session", api::text(okapi_session_describe, session.get())}});
  ProgressBar bar("logits");
  for (int64_t first = 0; first < n_tokens; first += step) {
    const int64_t n = std::min(step, n_tokens - first);
    try {
      api::call(okapi_session_score, session.get(), ids.data() + first, n, nullptr, logits.data());
    } catch (const Failure& failure) {
      throw placed(failure, arguments.ids_file);
    }
    file.write(logits.data(), static_cast<size_t>(n * info.vocab_size));
    const okapi_progress progress{sizeof(okapi_progress), {}, "logits", first + n, n_tokens, ""};
    ProgressBar::on_progress(&progress, &bar);
  }
  file.finish();
  return kExitOk;
}

}  // namespace

void add_logits(CLI::App& app, int* exit_code) {
  CLI::App* command =
      app.add_subcommand("logits", "Writes the logits of given token ids to a file");
  command->footer(
      "Writes tensor `logits` [T, vocab] f32: row i predicts the token after id i. The scheme is "
      "evaluated at\n"
      "the number of ids unless --rope-length says otherwise; chunks change nothing but rounding.\n"
      "\n"
      "Example:\n"
      "  okapi logits models/savanna-5m --ids ids.txt --rope dynamic_ntk:scale=4 --out "
      "logits.safetensors");
  auto arguments = std::make_shared<LogitsArguments>();
  arguments->model.add_to(*command, "MODEL");
  command->add_option("--ids", arguments->ids_file, "token ids, separated by white space")
      ->required()
      ->type_name("FILE");
  command->add_option("--out", arguments->out_file, "safetensors file to write")
      ->required()
      ->type_name("FILE");
  arguments->rope.add_to(*command);
  arguments->adapter.add_to(*command);
  command
      ->add_option("--positions", arguments->positions_file,
                   "real positions, one per id, instead of 0, 1, 2 ...")
      ->type_name("FILE");
  command->add_option("--chunk", arguments->chunk, "feed the ids in pieces of N")
      ->check(positive())
      ->type_name("N");
  command->add_flag("--raw-keys", arguments->raw_keys,
                    "cache keys unrotated and rotate them when read");
  arguments->runtime.add_to(*command);
  command->callback([arguments, exit_code] { *exit_code = write_logits(*arguments); });
}

}  // namespace okapi::cli
