#include "capi/cli/report_table.h"

#include <map>

#include <fmt/format.h>

#include "capi/cli/terminal.h"

namespace okapi::cli {

using Json = nlohmann::ordered_json;

std::string cell(const Json& value, int precision) {
  if (value.is_null()) return "-";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return format_number(value.get<double>(), precision);
  return value.dump();
}

// A noun of a run's identity is a name, or an object that has one.
static std::string name_of(const Json& run, const char* noun) {
  for (const char* part : {"info", "identity"}) {
    const Json about = run.value(part, Json::object()).value(noun, Json());
    if (about.is_string()) return about.get<std::string>();
    for (const char* key : {"path", "name", "id", "spec"}) {
      if (about.is_object() && about.contains(key)) return cell(about[key]);
    }
  }
  return "?";
}

std::string run_title(const Json& run) {
  const std::string adapter = name_of(run, "adapter");
  return "task " + name_of(run, "task") + ", model " + name_of(run, "model") +
         (adapter == "?" ? "" : ", adapter " + adapter) + ", rope " + name_of(run, "rope") + ", " +
         cell(run.value("n_done", Json())) + " of " + cell(run.value("n_items", Json())) +
         " samples";
}

static std::vector<std::string> row_of(const std::string& name, const Json& numbers) {
  std::vector<std::string> row = {name};
  for (const char* key : {"n", "value", "low", "high"})
    row.push_back(cell(numbers.value(key, Json())));
  return row;
}

std::vector<std::vector<std::string>> report_rows(const Json& report) {
  std::vector<std::vector<std::string>> rows = {
      {"", "n", report.value("metric", "value"), "low", "high"}, row_of("all", report)};
  constexpr std::string_view kGroup = "by_";
  for (const auto& [key, groups] : report.items()) {
    if (!key.starts_with(kGroup)) continue;
    for (const Json& group : groups) {
      const auto attribute = group.begin();  // the first member names the group
      rows.push_back(row_of(attribute.key() + " " + cell(*attribute, 2), group));
    }
  }
  return rows;
}

std::string training_title(const Json& run) {
  const Json& config = run.at("info").at("config");
  const Json& steps = run.at("steps");
  const std::string done = steps.empty() ? ", no steps"
                                         : ", rope " + cell(steps.back().at("rope")) + ", " +
                                               cell(steps.back().at("step")) + " steps";
  return "training of " + cell(config.at("model")) +
         (config.at("lora").is_null() ? "" : ", an adapter") + done;
}

// Step to the mean loss of its evaluation, over the tokens of all positions.
static std::map<int64_t, double> evaluation_losses(const Json& run) {
  std::map<int64_t, double> losses;
  for (const Json& evaluation : run.at("evaluations")) {
    double sum = 0;
    double n_tokens = 0;
    for (const Json& bucket : evaluation.at("buckets")) {
      if (bucket.at("loss").is_null()) continue;
      const double n = bucket.at("n_tokens").get<double>();
      sum += bucket.at("loss").get<double>() * n;
      n_tokens += n;
    }
    if (n_tokens > 0) losses[evaluation.at("step").get<int64_t>()] = sum / n_tokens;
  }
  return losses;
}

std::vector<std::vector<std::string>> curve_rows(const Json& run) {
  constexpr size_t kMostRows = 24;
  const Json& steps = run.at("steps");
  const std::map<int64_t, double> evaluations = evaluation_losses(run);
  const size_t stride = (steps.size() + kMostRows - 1) / kMostRows;
  std::vector<std::vector<std::string>> rows = {
      {"step", "loss", "evaluation", "learning rate", "tokens"}};
  for (size_t i = 0; i < steps.size(); ++i) {
    const Json& step = steps[i];
    const auto evaluated = evaluations.find(step.at("step").get<int64_t>());
    const bool is_shown = (steps.size() - 1 - i) % stride == 0 || evaluated != evaluations.end();
    if (!is_shown) continue;
    rows.push_back({cell(step.at("step")), cell(step.at("loss"), 4),
                    evaluated == evaluations.end() ? "" : format_number(evaluated->second, 4),
                    fmt::format("{:.3g}", step.at("learning_rate").get<double>()),
                    cell(step.at("n_tokens"))});
  }
  return rows;
}

}  // namespace okapi::cli
