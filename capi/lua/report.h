// The headline of an evaluation's report: what a script or a table reads first.
#pragma once

#include <nlohmann/json.hpp>

namespace okapi::api {

/// Adds to a report of okapi_evaluation_report() or a run of okapi_results_summary():
///   metric, value, low, high, n   the task's first metric
///   accuracy                      the value again, if it is a rate
///   by_<attribute>                for each group: a list of {<attribute>, value, accuracy, low,
///   high, n};
///                                 groups by depth_decile are by_depth
void add_headline(nlohmann::ordered_json& report);

}  // namespace okapi::api
