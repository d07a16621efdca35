// Samples into the numbers a reader wants: each metric in all, and broken down by an attribute.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/results/records.h"

namespace okapi {

/// [{"name", "aggregate", "value", "low", "high", "n"}], in the order of `metrics`. value, low and
/// high are null where there is none.
Json aggregate_metrics(const std::vector<Metric>& metrics,
                       const std::vector<const Sample*>& samples);

/// {"length": [{"value": 512, "metrics": [...]}, ...], ...}: per attribute of `group_by`, one entry
/// per value that occurs, numbers in ascending order. Samples without the attribute are left out of
/// it.
Json aggregate_groups(const std::vector<Metric>& metrics, const std::vector<std::string>& group_by,
                      const std::vector<const Sample*>& samples);

/// A run with how far it is and its aggregates: sha256, created_at, identity, info, n_items,
/// n_done, metrics, groups.
Json summary_of(const StoredRun& run, const std::map<int64_t, Sample>& samples);

/// How a sample scored: "parsed" and the metrics by name, flags as true or false.
nlohmann::ordered_json score_of(const Sample& sample, const std::vector<Metric>& metrics);

/// A sample as reports and exports show it: its attributes, output, parsed, metrics by name.
nlohmann::ordered_json sample_json(const Sample& sample, const std::vector<Metric>& metrics);

}  // namespace okapi
