// What every subcommand is made of: options that CLI11 fills, then a function that runs.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "capi/lua/c_api.h"

namespace okapi::cli {

using api::Failure;
using api::Handle;
using Json = nlohmann::ordered_json;

/// Exit codes, said in `okapi --help`.
constexpr int kExitOk = 0;
constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitInterrupted = 130;  // as shells report death by SIGINT

/// What the user typed is wrong: exit code 2.
class UsageError : public Failure {
 public:
  explicit UsageError(std::string message) : Failure(OKAPI_INVALID_ARGUMENT, std::move(message)) {}
};

/// Checks of an option's number that say what was wanted, in words: CLI11's own ones print the
/// limits of a double, 300 digits, and let nan through.
enum class Number { whole, seed, real };  ///< int64, uint64, double
CLI::Validator positive(Number kind = Number::whole);
CLI::Validator non_negative(Number kind = Number::whole);

/// Options of the subcommands that open a runtime.
struct RuntimeArguments {
  int32_t n_threads = 0;
  std::string backend;
  std::vector<std::string> plugin_paths;
  bool is_verbose = false;

  void add_to(CLI::App& app);
  Handle<okapi_runtime> open() const;
};

/// Options of the subcommands that load a model.
struct ModelArguments {
  std::string path;
  std::string dtype;
  std::string config_file;

  /// `name` is "MODEL" for a positional argument, "--model" for an option.
  void add_to(CLI::App& app, const std::string& name);
  Handle<okapi_model> open(okapi_runtime* runtime) const;
};

/// A position scheme and its declared length.
struct RopeArguments {
  std::string spec;
  std::string length;  ///< "", a number of tokens, or "follow"

  void add_to(CLI::App& app);

  /// Null when no spec was given: the model's own.
  Handle<okapi_rope> open(const okapi_model* model) const;

  /// As in okapi_session_options; `absent` if none was given.
  int64_t declared_length(int64_t absent) const;
};

/// A LoRA adapter beside the model.
struct AdapterArguments {
  std::string path;

  void add_to(CLI::App& app);

  /// Null when none was given.
  Handle<okapi_adapter> open(okapi_model* model) const;
};

/// OKAPI_DTYPE_* of "f32", "f16", "bf16"; the default for "".
int32_t dtype_named(const std::string& name);

/// A whole file. Throws naming it.
std::string read_file(const std::string& path);

/// Where the keys of a file stand: "optimizer.clip" -> "train.yaml:7".
using Places = std::map<std::string, std::string>;

/// A failure that names no file, as one about what `file` holds: it begins with the place of the
/// key that it names, or of the nearest one around it. Other failures as they are.
Failure placed(const Failure& failure, const std::string& file, const Places& places = {});

/// Parses JSON that okapi wrote.
Json parse_json(const std::string& text);

/// Text, and a line feed, to standard output. Throws if it cannot be written.
void print_line(std::string_view text);
void print_json(const Json& json);

/// Each adds its subcommand to `app`, to be run by what it hangs on CLI::App::callback(). The exit
/// code goes to *exit_code.
void add_run(CLI::App& app, int* exit_code);
void add_repl(CLI::App& app, int* exit_code);
void add_generate(CLI::App& app, int* exit_code);
void add_logits(CLI::App& app, int* exit_code);
void add_eval(CLI::App& app, int* exit_code);
void add_results(CLI::App& app, int* exit_code);
void add_rope(CLI::App& app, int* exit_code);
void add_plugins(CLI::App& app, int* exit_code);
void add_info(CLI::App& app, int* exit_code);
void add_adapter(CLI::App& app, int* exit_code);
void add_delta(CLI::App& app, int* exit_code);
void add_data(CLI::App& app, int* exit_code);
void add_train(CLI::App& app, int* exit_code);
void add_bench(CLI::App& app, int* exit_code);

}  // namespace okapi::cli
