#include "runtime/results/export.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "runtime/base/number_text.h"
#include "runtime/results/aggregate.h"

namespace okapi {

namespace {

void put(const FileWriter& file, std::string_view text) {
  file(std::as_bytes(std::span(text.data(), text.size())));
}

/// A field is quoted when it holds what separates fields; quotes are doubled (RFC 4180, 2.5
/// to 2.7).
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + "\"";
}

void put_row(const FileWriter& file, const std::vector<std::string>& cells) {
  std::string row;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) row += ',';
    row += csv_field(cells[i]);
  }
  put(file, row + "\r\n");
}

template <typename JsonType>
std::string cell_of(const JsonType& value) {
  if (value.is_null()) return {};
  if (value.is_string()) return value.template get<std::string>();
  return value.dump();
}

void add_new(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

/// What of a run's identity has a column of its own: its scalars; objects as "task.name".
std::vector<std::pair<std::string, std::string>> identity_cells(const Json& identity) {
  std::vector<std::pair<std::string, std::string>> cells;
  for (const auto& [key, value] : identity.items()) {
    if (!value.is_object()) {
      cells.emplace_back(key, cell_of(value));
      continue;
    }
    for (const auto& [inner, scalar] : value.items()) {
      cells.emplace_back(key + "." + inner, cell_of(scalar));
    }
  }
  return cells;
}

struct Columns {
  std::vector<std::string> identity;
  std::vector<std::string> attributes;
  std::vector<std::string> metrics;
};

Columns columns_of(const std::vector<StoredRun>& runs, const SampleLoader& samples_of) {
  Columns columns;
  for (const StoredRun& run : runs) {
    for (const auto& [name, cell] : identity_cells(run.run.identity))
      add_new(columns.identity, name);
    for (const Metric& metric : run.run.metrics) add_new(columns.metrics, metric.name);
    for (const auto& [item, sample] : samples_of(run.id)) {
      for (const auto& [name, value] : sample.attributes.items()) add_new(columns.attributes, name);
    }
  }
  return columns;
}

constexpr const char* kSampleColumns[] = {"item",
                                          "key",
                                          "output",
                                          "parsed",
                                          "stop_reason",
                                          "seconds",
                                          "n_prompt_tokens",
                                          "n_output_tokens",
                                          "declared_length",
                                          "prompt_sha256",
                                          "table_sha256"};

std::vector<std::string> header_of(const Columns& columns) {
  std::vector<std::string> header = {"run"};
  for (const std::string& name : columns.identity) header.push_back(name);
  for (const char* name : kSampleColumns) header.emplace_back(name);
  // The same word may name an attribute and a column of ours, so attributes carry their noun.
  for (const std::string& name : columns.attributes) header.push_back("attribute." + name);
  for (const std::string& name : columns.metrics) header.push_back("metric." + name);
  return header;
}

std::vector<std::string> row_of(const StoredRun& run, const Sample& sample,
                                const Columns& columns) {
  std::vector<std::string> row = {run.run.sha256()};
  const auto identity = identity_cells(run.run.identity);
  for (const std::string& name : columns.identity) {
    const auto found = std::find_if(identity.begin(), identity.end(),
                                    [&](const auto& cell) { return cell.first == name; });
    row.push_back(found == identity.end() ? std::string() : found->second);
  }
  row.insert(row.end(),
             {std::to_string(sample.item), sample.key, sample.output, sample.parsed.value_or(""),
              sample.stop_reason, number_text(sample.seconds),
              std::to_string(sample.prompt_ids.size()), std::to_string(sample.output_ids.size()),
              std::to_string(sample.declared_length), sample.prompt_sha256, sample.table_sha256});
  for (const std::string& name : columns.attributes) {
    const auto found = sample.attributes.find(name);
    row.push_back(found == sample.attributes.end() ? std::string() : cell_of(*found));
  }
  for (const std::string& name : columns.metrics) {
    const auto found = std::find_if(sample.values.begin(), sample.values.end(),
                                    [&](const SampleValue& value) { return value.metric == name; });
    row.push_back(found == sample.values.end() ? std::string() : number_text(found->value));
  }
  return row;
}

}  // namespace

void write_csv(const std::vector<StoredRun>& runs, const SampleLoader& samples_of,
               const FileWriter& file) {
  const Columns columns = columns_of(runs, samples_of);
  put_row(file, header_of(columns));
  for (const StoredRun& run : runs) {
    for (const auto& [item, sample] : samples_of(run.id))
      put_row(file, row_of(run, sample, columns));
  }
}

void write_json(const std::vector<StoredRun>& runs, const SampleLoader& samples_of,
                const FileWriter& file) {
  const auto replace = nlohmann::ordered_json::error_handler_t::replace;
  put(file, "[");
  for (size_t i = 0; i < runs.size(); ++i) {
    const std::map<int64_t, Sample> samples = samples_of(runs[i].id);
    std::string head =
        summary_of(runs[i], samples).dump(-1, ' ', false, Json::error_handler_t::replace);
    head.pop_back();  // the closing brace: the samples come within it
    put(file, (i > 0 ? ",\n" : "\n") + head + ",\"samples\":[");
    bool is_first = true;
    for (const auto& [item, sample] : samples) {
      nlohmann::ordered_json row = sample_json(sample, runs[i].run.metrics);
      row["prompt"] = sample.prompt;
      row["prompt_ids"] = sample.prompt_ids;
      put(file, (is_first ? "\n" : ",\n") + row.dump(-1, ' ', false, replace));
      is_first = false;
    }
    put(file, "]}");
  }
  put(file, "\n]\n");
}

}  // namespace okapi
