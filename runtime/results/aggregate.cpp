#include "runtime/results/aggregate.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "runtime/results/statistics.h"

namespace okapi {

namespace {

Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Interval interval_of(Aggregate aggregate, const std::vector<double>& values,
                     const std::vector<double>& weights) {
  switch (aggregate) {
    case Aggregate::rate:
      return wilson_interval(
          std::count_if(values.begin(), values.end(), [](double v) { return v != 0; }),
          static_cast<int64_t>(values.size()));
    case Aggregate::mean:
      return mean_interval(values);
    case Aggregate::weighted_mean:
      return weighted_mean_interval(values, weights);
    case Aggregate::sum:
      break;
  }
  double sum = 0;
  for (double value : values) sum += value;
  return {sum, std::nan(""), std::nan("")};
}

Json aggregate_metric(const Metric& metric, const std::vector<const Sample*>& samples) {
  std::vector<double> values;
  std::vector<double> weights;
  for (const Sample* sample : samples) {
    for (const SampleValue& value : sample->values) {
      if (value.metric != metric.name) continue;
      values.push_back(value.value);
      weights.push_back(value.weight);
    }
  }
  const Interval interval = interval_of(metric.aggregate, values, weights);
  return {{"name", metric.name},
          {"aggregate", name_of(metric.aggregate)},
          {"value", number_or_null(interval.value)},
          {"low", number_or_null(interval.low)},
          {"high", number_or_null(interval.high)},
          {"n", values.size()}};
}

bool is_flag(const std::vector<Metric>& metrics, const std::string& name) {
  return std::any_of(metrics.begin(), metrics.end(), [&](const Metric& metric) {
    return metric.name == name && metric.aggregate == Aggregate::rate;
  });
}

/// A whole number reads as a number; anything else that was parsed stays text.
Json parsed_json(const std::optional<std::string>& parsed) {
  if (!parsed) return {};
  int64_t number = 0;
  const char* end = parsed->data() + parsed->size();
  const auto result = std::from_chars(parsed->data(), end, number);
  if (result.ec == std::errc() && result.ptr == end) return number;
  return valid_utf8(*parsed);
}

}  // namespace

Json aggregate_metrics(const std::vector<Metric>& metrics,
                       const std::vector<const Sample*>& samples) {
  Json result = Json::array();
  for (const Metric& metric : metrics) result.push_back(aggregate_metric(metric, samples));
  return result;
}

Json aggregate_groups(const std::vector<Metric>& metrics, const std::vector<std::string>& group_by,
                      const std::vector<const Sample*>& samples) {
  Json result = Json::object();
  for (const std::string& attribute : group_by) {
    std::map<Json, std::vector<const Sample*>> groups;
    for (const Sample* sample : samples) {
      const auto found = sample->attributes.find(attribute);
      if (found != sample->attributes.end()) groups[Json(*found)].push_back(sample);
    }
    Json entries = Json::array();
    for (const auto& [value, members] : groups) {
      entries.push_back({{"value", value}, {"metrics", aggregate_metrics(metrics, members)}});
    }
    result[attribute] = std::move(entries);
  }
  return result;
}

Json summary_of(const StoredRun& run, const std::map<int64_t, Sample>& samples) {
  std::vector<const Sample*> all;
  all.reserve(samples.size());
  for (const auto& [item, sample] : samples) all.push_back(&sample);
  return {{"sha256", run.run.sha256()},
          {"created_at", run.created_at},
          {"identity", run.run.identity},
          {"info", run.run.info},
          {"n_items", run.run.n_items},
          {"n_done", samples.size()},
          {"metrics", aggregate_metrics(run.run.metrics, all)},
          {"groups", aggregate_groups(run.run.metrics, run.run.group_by, all)}};
}

nlohmann::ordered_json score_of(const Sample& sample, const std::vector<Metric>& metrics) {
  nlohmann::ordered_json result;
  result["parsed"] = parsed_json(sample.parsed);
  for (const SampleValue& value : sample.values) {
    if (is_flag(metrics, value.metric)) {
      result[value.metric] = value.value != 0;
    } else {
      result[value.metric] = number_or_null(value.value);
    }
  }
  return result;
}

nlohmann::ordered_json sample_json(const Sample& sample, const std::vector<Metric>& metrics) {
  nlohmann::ordered_json result;
  result["item"] = sample.item;
  result["key"] = sample.key;
  result["output_ids"] = sample.output_ids;
  result["output"] = sample.output;
  result.update(score_of(sample, metrics));
  result["stop_reason"] = sample.stop_reason;
  result["n_prompt_tokens"] = sample.prompt_ids.size();
  result["prompt_sha256"] = sample.prompt_sha256;
  result["declared_length"] = sample.declared_length;
  result["table_sha256"] = sample.table_sha256;
  result["seconds"] = sample.seconds;
  result["attributes"] = sample.attributes;
  return result;
}

}  // namespace okapi
