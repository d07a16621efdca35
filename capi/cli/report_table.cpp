#include "capi/cli/report_table.h"

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

}  // namespace okapi::cli
