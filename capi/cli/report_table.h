// Reports of evaluations as rows of a table.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace okapi::cli {

/// One row in all and one per group, from a report with its headline (capi/lua/report.h).
std::vector<std::vector<std::string>> report_rows(const nlohmann::ordered_json& report);

/// One line that names a run of okapi_results_summary(): task, model, scheme, how far it is.
std::string run_title(const nlohmann::ordered_json& run);

/// One line that names a run of okapi_results_training(): model, ropes, how far it is.
std::string training_title(const nlohmann::ordered_json& run);

/// Its steps, evenly spread where they are many, the last one among them; beside a step its
/// evaluation, where there is one.
std::vector<std::vector<std::string>> curve_rows(const nlohmann::ordered_json& run);

/// Text of a JSON number or string; "-" for null.
std::string cell(const nlohmann::ordered_json& value, int precision = 3);

}  // namespace okapi::cli
