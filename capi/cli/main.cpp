// The `okapi` command.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "capi/cli/command.h"
#include "capi/cli/interrupt.h"
#include "capi/lua/suggestion.h"

namespace {

using namespace okapi::cli;  // NOLINT(google-build-using-namespace): this file is its entry

// One line, whatever the message holds.
void print_error(std::string message) {
  for (char& c : message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  std::fprintf(stderr, "okapi: %s\n", message.c_str());
}

// CLI11 would only say that a subcommand is missing.
void check_subcommand(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands({})) {
    known.push_back(command->get_name());
    if (known.back() == argv[1]) return check_subcommand(*command, argc - 1, argv + 1);
  }
  if (!known.empty()) {
    throw UsageError(okapi::api::unknown_word_message("subcommand", argv[1], known));
  }
}

// A value is empty where a script's variable was not set: such an option would count as not given,
// and the run be another than was meant. Texts for a model may be empty; a script's arguments are
// its own.
void check_empty_values(int argc, char** argv) {
  if (argc < 2 || std::string(argv[1]) == "run") return;
  for (int i = 2; i < argc; ++i) {
    std::string option = argv[i];
    const bool ends_empty = option.starts_with("--") && option.ends_with('=');
    if (ends_empty) option.pop_back();
    if (option.empty()) {
      option = argv[i - 1];
      if (!option.starts_with('-')) throw UsageError("an argument is empty, after " + option);
    } else if (!ends_empty) {
      continue;
    }
    if (option == "-p" || option == "--prompt") continue;
    throw UsageError(option + ": wanted a value, found an empty one");
  }
}

// CLI11 asks for what is missing before it looks at what it does not know; a mistyped option is
// often both, and its name says more.
std::string message_of(const CLI::App& app, const CLI::ParseError& error) {
  for (const CLI::App* command = &app; command != nullptr;) {
    for (const std::string& word : command->remaining()) {
      if (word.size() > 1 && word[0] == '-') return "unknown option " + word;
    }
    const std::vector<CLI::App*> chosen = command->get_subcommands();
    command = chosen.empty() ? nullptr : chosen.front();
  }
  const std::string message = error.what();
  const size_t twice = message.find(": At Most 1 required but received ");
  return twice == std::string::npos ? message : message.substr(0, twice) + ": given twice";
}

int run(int argc, char** argv) {
  CLI::App app("Runs long-context experiments on Llama models.", "okapi");
  app.set_version_flag("--version", std::string("okapi ") + okapi_version_string());
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  okapi generate models/savanna-5m -p 'Once upon a time' --rope yarn:scale=4\n"
      "  okapi eval --model models/savanna-5m --task lines --param style=compact --length 1024 "
      "--rope yarn\n"
      "  okapi run scripts/experiments/rope_retrieval.lua\n"
      "\n"
      "Every subcommand has its own --help.\n"
      "Exit codes: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.");
  int exit_code = kExitOk;
  add_run(app, &exit_code);
  add_repl(app, &exit_code);
  add_generate(app, &exit_code);
  add_logits(app, &exit_code);
  add_eval(app, &exit_code);
  add_results(app, &exit_code);
  add_rope(app, &exit_code);
  add_plugins(app, &exit_code);
  add_info(app, &exit_code);
  add_adapter(app, &exit_code);
  add_delta(app, &exit_code);
  add_data(app, &exit_code);
  add_train(app, &exit_code);
  add_bench(app, &exit_code);
  try {
    check_subcommand(app, argc, argv);
    check_empty_values(argc, argv);
    app.parse(argc, argv);
    return exit_code;
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    print_error(message_of(app, error) + " (see okapi --help, and okapi SUBCOMMAND --help)");
    return kExitUsage;
  } catch (const UsageError& error) {
    print_error(error.message());
    return kExitUsage;
  } catch (const Failure& failure) {
    if (failure.code() == OKAPI_CANCELLED && is_interrupted()) {
      print_error("interrupted");
      return kExitInterrupted;
    }
    print_error(failure.message());
    return kExitFailure;
  } catch (const std::exception& error) {
    print_error(error.what());
    return kExitFailure;
  }
}

// Threads of OpenMP wait for one another by spinning, and libgomp lets them do so for milliseconds:
// beside other programs they hold the cores that the thread they wait for should have, and decoding
// becomes many times slower. On cores of its own it needs no more than this. libgomp reads it when
// a backend is opened; a host of the library decides for itself (backends/cpu/README.md).
void shorten_spins() {
  constexpr const char* kSpins = "1000";
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) ::setenv("GOMP_SPINCOUNT", kSpins, /*replace=*/0);
}

}  // namespace

int main(int argc, char** argv) {
  shorten_spins();
  return run(argc, argv);
}
