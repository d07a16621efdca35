// okapi rope: what a position scheme does to each pair of channels.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "capi/cli/command.h"
#include "capi/cli/plugin_text.h"
#include "capi/cli/terminal.h"

namespace okapi::cli {

namespace {

struct ExplainArguments {
  RuntimeArguments runtime;
  std::string spec;
  std::string model_path;
  int64_t length = 0;
  int64_t head_dim = 0;
  int64_t trained_length = 0;
  double base = 10000;
  bool is_json = false;
};

constexpr int kBarWidth = 24;

// Block characters in eighths, so that a bar tells more than its width in cells.
std::string bar_of(double fraction, int width) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const double eighths = std::clamp(fraction, 0.0, 1.0) * width * 8;
  const auto full = static_cast<int>(eighths) / 8;
  std::string bar;
  for (int i = 0; i < full; ++i) bar += "█";
  return bar + kEighths[static_cast<int>(eighths) % 8];
}

std::string short_number(const Json& value) {
  return value.is_number() ? fmt::format("{:.4g}", value.get<double>()) : "-";
}

void print_parameters(const Json& scheme) {
  print_line(fmt::format("{} {}", scheme.value("name", ""), scheme.value("version", "")));
  const Json parameters = scheme.value("parameters", Json::object());
  for (const auto& [name, parameter] : parameters.items()) {
    const Json value = parameter.value("value", Json());
    print_line(fmt::format("  {:<18} {:<14} {}", name,
                           value.is_string() ? value.get<std::string>() : value.dump(),
                           parameter.value("source", "")));
  }
}

// The bar is the share of the plain frequency that is left.
void print_pairs(const Json& pairs, int64_t trained_length, int64_t target_length) {
  std::vector<std::vector<std::string>> rows = {
      {"pair", "frequency", "wavelength", fmt::format("turns in {}", trained_length),
       fmt::format("turns in {}", target_length), "of plain", "", ""}};
  for (const Json& pair : pairs) {
    const double ratio = pair.value("ratio", 0.0);
    std::string bar = bar_of(ratio, kBarWidth);
    const auto drawn =
        std::count_if(bar.begin(), bar.end(), [](char c) { return (c & 0xC0) != 0x80; });
    bar.append(static_cast<size_t>(std::max<int64_t>(0, kBarWidth - drawn)), ' ');
    rows.push_back({std::to_string(pair.value("pair", 0)),
                    short_number(pair.value("inv_freq", Json())),
                    short_number(pair.value("wavelength", Json())),
                    short_number(pair.value("turns_trained", Json())),
                    short_number(pair.value("turns_target", Json())), fmt::format("{:.4f}", ratio),
                    pair.value("label", ""), bar});
  }
  // At the trained length the turns in it would stand there twice.
  if (target_length == trained_length) {
    for (std::vector<std::string>& row : rows) row.erase(row.begin() + 4);
  }
  print_line(format_table(rows));
  std::map<std::string, int> counts;
  for (const Json& pair : pairs) ++counts[pair.value("label", "")];
  std::string summary;
  for (const auto& [label, count] : counts) {
    summary += fmt::format("{}{} {}", summary.empty() ? "" : ", ", count, label);
  }
  print_line(fmt::format("{} pairs: {}", pairs.size(), summary));
}

// q.k of equal vectors at each distance, as a share of that at distance 0; below zero to the left.
void print_decay(const Json& decay) {
  if (decay.empty()) return;
  const double at_zero = decay[0].value("score", 1.0);
  print_line("\nq.k with distance, 1 at distance 0");
  for (const Json& point : decay) {
    const auto distance = point.value("distance", int64_t{0});
    const bool is_power_of_two = distance == 0 || (distance & (distance - 1)) == 0;
    if (!is_power_of_two && &point != &decay.back()) continue;
    const double share = point.value("score", 0.0) / at_zero;
    const std::string bar = bar_of(std::fabs(share), kBarWidth);
    const auto drawn =
        std::count_if(bar.begin(), bar.end(), [](char c) { return (c & 0xC0) != 0x80; });
    const std::string blank(static_cast<size_t>(kBarWidth - std::min<int64_t>(drawn, kBarWidth)),
                            ' ');
    const std::string nothing(kBarWidth, ' ');
    print_line(fmt::format("{:>8}  {:>7.3f}  {}|{}", distance, share,
                           share < 0 ? blank + bar : nothing, share < 0 ? "" : bar));
  }
}

Handle<okapi_rope> open_rope(const ExplainArguments& arguments, okapi_runtime* runtime,
                             Handle<okapi_model>& model) {
  if (!arguments.model_path.empty()) {
    ModelArguments model_arguments;
    model_arguments.path = arguments.model_path;
    model = model_arguments.open(runtime);
    return api::make<okapi_rope>(okapi_rope_create, model.get(), arguments.spec.c_str());
  }
  if (arguments.head_dim == 0 || arguments.trained_length == 0) {
    throw UsageError("rope explain: give --model, or --head-dim and --trained-length");
  }
  okapi_rope_shape shape = OKAPI_ROPE_SHAPE_INIT;
  shape.head_dim = arguments.head_dim;
  shape.trained_length = arguments.trained_length;
  shape.base = arguments.base;
  return api::make<okapi_rope>(okapi_rope_create_for_shape, runtime, &shape,
                               arguments.spec.c_str());
}

int explain(const ExplainArguments& arguments) {
  const auto runtime = arguments.runtime.open();
  Handle<okapi_model> model;
  const auto rope = open_rope(arguments, runtime.get(), model);
  const Json about = parse_json(api::text(okapi_rope_explain, rope.get(), arguments.length));
  if (arguments.is_json) {
    print_json(about);
    return kExitOk;
  }
  const Json& geometry = about.at("geometry");
  const Json& table = about.at("table");
  print_line(about.value("spec", ""));
  for (const Json& scheme : about.at("schemes")) print_parameters(scheme);
  print_line(fmt::format("rotation gain {:.6g}, attention temperature {:.6g}",
                         table.value("rotation_gain", 1.0),
                         table.value("attention_temperature", 1.0)));
  if (about.value("depends_on_length", false))
    print_line("the table depends on the declared length");
  if (about.value("has_magnitudes", false)) print_line("queries and keys have magnitudes");
  if (about.value("draws_positions_in_training", false)) print_line("draws positions in training");
  if (about.value("draws_positions_in_evaluation", false))
    print_line("draws positions in evaluation");
  print_line("");
  print_pairs(about.at("pairs"), geometry.value("trained_length", int64_t{0}),
              geometry.value("target_length", int64_t{0}));
  print_decay(about.at("decay"));
  return kExitOk;
}

}  // namespace

void add_rope(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("rope", "Explains and lists position schemes");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  okapi rope list\n"
      "  okapi rope explain yarn:scale=4 --model models/savanna-5m --length 2048\n"
      "  okapi rope explain 'linear:scale=4|truncated:length=2048' --head-dim 128 --trained-length "
      "2048");

  CLI::App* list = command->add_subcommand("list", "The schemes there are");
  auto listed = std::make_shared<ExplainArguments>();
  list->add_flag("--json", listed->is_json, "as JSON");
  listed->runtime.add_to(*list);
  list->callback([listed, exit_code] {
    const auto runtime = listed->runtime.open();
    *exit_code = list_plugins(runtime.get(), "rope", listed->is_json);
  });

  CLI::App* explained = command->add_subcommand(
      "explain", "Frequency, wavelength and fate of each pair, and how q.k decays with distance");
  auto arguments = std::make_shared<ExplainArguments>();
  explained
      ->add_option("SPEC", arguments->spec, "the scheme, as yarn:scale=4; '' for the model's own")
      ->required();
  CLI::Option* model =
      explained->add_option("--model", arguments->model_path, "the geometry of this model")
          ->type_name("FOLDER");
  explained->add_option("--head-dim", arguments->head_dim, "channels per head, without a model")
      ->check(positive())
      ->type_name("N")
      ->excludes(model);
  explained->add_option("--trained-length", arguments->trained_length, "tokens, without a model")
      ->check(positive())
      ->type_name("N")
      ->excludes(model);
  explained->add_option("--base", arguments->base, "of RoPE, without a model")
      ->check(positive(Number::real))
      ->type_name("B")
      ->capture_default_str()
      ->excludes(model);
  explained
      ->add_option("--length", arguments->length,
                   "declared length in tokens (default: the trained one)")
      ->check(positive())
      ->type_name("N");
  explained->add_flag("--json", arguments->is_json, "as JSON");
  arguments->runtime.add_to(*explained);
  explained->callback([arguments, exit_code] { *exit_code = explain(*arguments); });
}

}  // namespace okapi::cli
