#include "capi/cli/command.h"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

#include "capi/cli/interrupt.h"
#include "capi/cli/terminal.h"

namespace okapi::cli {

namespace {

template <class Integer>
std::optional<double> integer_in(const std::string& text) {
  Integer value = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  const bool is_number = parsed.ec == std::errc() && parsed.ptr == end;
  return is_number ? std::optional(static_cast<double>(value)) : std::nullopt;
}

// What the text means, finite; nothing if it is no number of that kind.
std::optional<double> number_in(const std::string& text, Number kind) {
  if (kind == Number::whole) return integer_in<int64_t>(text);
  if (kind == Number::seed) return integer_in<uint64_t>(text);
  double value = 0;
  const bool is_number = CLI::detail::lexical_cast(text, value) && std::isfinite(value);
  return is_number ? std::optional(value) : std::nullopt;
}

template <class IsWanted>
CLI::Validator number_check(const std::string& type_name, Number kind, const std::string& range,
                            IsWanted is_wanted) {
  const auto problem = [kind, range, is_wanted](const std::string& text) {
    const std::optional<double> value = number_in(text, kind);
    if (value && is_wanted(*value)) return std::string();
    return std::string("wanted a ") + (kind == Number::real ? "" : "whole ") + "number " + range +
           ", found '" + text + "'";
  };
  return {problem, type_name};
}

}  // namespace

CLI::Validator positive(Number kind) {
  return number_check("POSITIVE", kind, "above 0", [](double value) { return value > 0; });
}

CLI::Validator non_negative(Number kind) {
  return number_check("NONNEGATIVE", kind, "of at least 0",
                      [](double value) { return value >= 0; });
}

void RuntimeArguments::add_to(CLI::App& app) {
  app.add_option("--threads", n_threads, "most threads one call uses (default: one per core)")
      ->check(positive())
      ->type_name("N");
  app.add_option("--backend", backend, "cpu, cuda (default: the best there is)")->type_name("NAME");
  app.add_option("--plugin-path", plugin_paths,
                 "plugin file or folder, searched before OKAPI_PLUGIN_PATH; may be given again")
      ->type_name("PATH")
      ->allow_extra_args(false);
  app.add_flag("--verbose", is_verbose, "log what happens, not only warnings");
}

Handle<okapi_runtime> RuntimeArguments::open() const {
  okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.n_threads = n_threads;
  options.backend = backend.c_str();
  std::vector<const char*> paths;
  for (const std::string& path : plugin_paths) paths.push_back(path.c_str());
  options.plugin_paths = paths.data();
  options.n_plugin_paths = paths.size();
  options.log_level = is_verbose ? OKAPI_LOG_DEBUG : OKAPI_LOG_WARN;
  return api::make<okapi_runtime>(okapi_runtime_create, &options);
}

void ModelArguments::add_to(CLI::App& app, const std::string& name) {
  app.add_option(name, path, "model folder: config.json, safetensors, tokenizer")
      ->required()
      ->type_name("FOLDER");
  app.add_option("--dtype", dtype, "how weights are kept in memory (default: as the file has them)")
      ->check(CLI::IsMember({"f32", "bf16"}));
  app.add_option("--config", config_file, "name of the configuration within the folder")
      ->type_name("FILE")
      ->default_str("config.json");
}

Handle<okapi_model> ModelArguments::open(okapi_runtime* runtime) const {
  okapi_model_options options = OKAPI_MODEL_OPTIONS_INIT;
  options.dtype = dtype_named(dtype);
  options.config_file = config_file.empty() ? nullptr : config_file.c_str();
  ProgressBar bar("loading");
  options.progress = ProgressBar::on_progress;
  options.progress_user_data = &bar;
  options.cancel = interrupt().token;
  return api::make<okapi_model>(okapi_model_open, runtime, path.c_str(), &options);
}

void RopeArguments::add_to(CLI::App& app) {
  app.add_option(
         "--rope", spec,
         "position scheme, as yarn:scale=4 or linear:scale=4|truncated:length=2048 (default: the "
         "model's own)")
      ->type_name("SPEC");
  app.add_option("--rope-length", length,
                 "length in tokens that the scheme is evaluated at, or 'follow': the tokens so far")
      ->type_name("N|follow");
}

Handle<okapi_rope> RopeArguments::open(const okapi_model* model) const {
  if (spec.empty()) return nullptr;
  return api::make<okapi_rope>(okapi_rope_create, model, spec.c_str());
}

int64_t RopeArguments::declared_length(int64_t absent) const {
  if (length.empty()) return absent;
  if (length == "follow") return OKAPI_ROPE_LENGTH_FOLLOW;
  int64_t value = 0;
  const char* end = length.data() + length.size();
  const auto parsed = std::from_chars(length.data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end || value < 1) {
    throw UsageError("--rope-length: wanted a number of tokens or 'follow', found '" + length +
                     "'");
  }
  return value;
}

void AdapterArguments::add_to(CLI::App& app) {
  app.add_option("--adapter", path, "LoRA adapter beside the model, a peft folder")
      ->type_name("FOLDER");
}

Handle<okapi_adapter> AdapterArguments::open(okapi_model* model) const {
  if (path.empty()) return nullptr;
  return api::make<okapi_adapter>(okapi_adapter_open, model, path.c_str());
}

int32_t dtype_named(const std::string& name) {
  if (name == "f32") return OKAPI_DTYPE_F32;
  if (name == "f16") return OKAPI_DTYPE_F16;
  if (name == "bf16") return OKAPI_DTYPE_BF16;
  return OKAPI_DTYPE_DEFAULT;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf()).flush()) {
    throw Failure(OKAPI_NOT_FOUND, path + ": cannot be read: " + std::strerror(errno));
  }
  return text.str();
}

Failure placed(const Failure& failure, const std::string& file, const Places& places) {
  const bool is_about_values = failure.code() == OKAPI_INVALID_ARGUMENT ||
                               failure.code() == OKAPI_NOT_FOUND ||
                               failure.code() == OKAPI_UNIMPLEMENTED;
  if (!is_about_values || !failure.file().empty()) return failure;
  std::string place = file;
  for (std::string key = failure.field(); !key.empty();) {
    const auto found = places.find(key);
    if (found != places.end()) {
      place = found->second;
      break;
    }
    const size_t end = key.find_last_of(".[");
    key.resize(end == std::string::npos ? 0 : end);
  }
  return Failure(failure.code(), place + ": " + failure.message()).with_field(failure.field());
}

Json parse_json(const std::string& text) { return Json::parse(text); }

void print_line(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() ||
      std::fputc('\n', stdout) == EOF || std::fflush(stdout) != 0) {
    throw Failure(OKAPI_RESOURCE_EXHAUSTED,
                  std::string("standard output cannot be written: ") + std::strerror(errno));
  }
}

void print_json(const Json& json) {
  print_line(json.dump(2, ' ', false, Json::error_handler_t::replace));
}

}  // namespace okapi::cli
