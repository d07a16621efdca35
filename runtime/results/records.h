// What the results store keeps: a run, the metrics it measures, its samples.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/json.h"

namespace okapi {

/// How a metric's values of single samples become one number. Values are those of
/// OKAPI_AGGREGATE_* in <okapi/plugin/task.h>.
enum class Aggregate : int32_t { rate = 1, mean = 2, weighted_mean = 3, sum = 4 };

const char* name_of(Aggregate aggregate);

struct Metric {
  std::string name;
  std::string help;
  Aggregate aggregate = Aggregate::rate;
  int32_t better = 0;  ///< 1: higher is; -1: lower; 0: neither
};

/// One evaluation of a task under a scheme.
struct Run {
  /// All that decides the numbers: model, rope, task, dataset, plugins, seed, backend, dtype. Two
  /// runs with the same identity are one.
  Json identity;
  /// What is worth knowing and changes no number: file names, device, version of okapi.
  Json info;
  std::vector<Metric> metrics;        ///< the first is the one to print
  std::vector<std::string> group_by;  ///< attributes that results are broken down by
  int64_t n_items = 0;                ///< items of the task; -1: endless

  /// Names the run: SHA-256 over the canonical text of the identity.
  std::string sha256() const;
};

/// A run as a results file holds it.
struct StoredRun {
  int64_t id = 0;
  std::string created_at;  ///< UTC, ISO 8601
  Run run;
};

struct SampleValue {
  std::string metric;
  double value = 0;
  double weight = 1;
};

/// One item, what the model made of it, and how that scored. JSON objects keep the order of the
/// task.
struct Sample {
  int64_t item = 0;
  std::string key;

  std::string prompt;  ///< the exact bytes of its text parts
  std::vector<int32_t> prompt_ids;
  std::string prompt_sha256;  ///< of both, see hash_of_prompt()
  nlohmann::ordered_json attributes = nlohmann::ordered_json::object();

  int64_t declared_length = 0;  ///< the scheme was evaluated at; -1: at every length on the way
  std::string table_sha256;     ///< of the scheme's table at that length; may be empty

  std::vector<int32_t> output_ids;
  std::string output;  ///< valid UTF-8: a broken character reads U+FFFD
  std::string stop_reason;
  std::optional<std::string> parsed;
  std::vector<SampleValue> values;
  double seconds = 0;
};

/// SHA-256 over the prompt's bytes, a zero byte, and its ids as little-endian int32.
std::string hash_of_prompt(const std::string& prompt, const std::vector<int32_t>& ids);

/// The text as it is if it is UTF-8; otherwise with U+FFFD in place of what is not.
std::string valid_utf8(const std::string& text);

}  // namespace okapi
