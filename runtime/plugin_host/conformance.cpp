#include "runtime/plugin_host/conformance.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "runtime/base/error.h"
#include "runtime/plugin_host/conformance_params.h"
#include "runtime/plugin_host/dataset_plugin.h"
#include "runtime/plugin_host/plugin_metadata.h"
#include "runtime/plugin_host/rope_scheme.h"
#include "runtime/plugin_host/task_plugin.h"

namespace okapi {

namespace {

constexpr int64_t kRecordsTried = 8;
constexpr int64_t kPositionsTried = 257;

/// Runs checks and notes how each went.
class Checker {
 public:
  /// `body` throws when the check fails, and returns what it looked at.
  bool check(const std::string& name, const std::function<std::string()>& body) {
    try {
      checks_.push_back({name, true, body()});
    } catch (const std::exception& error) {
      checks_.push_back({name, false, error.what()});
    }
    return checks_.back().passed;
  }

  std::vector<ConformanceCheck> take() { return std::move(checks_); }

 private:
  std::vector<ConformanceCheck> checks_;
};

[[noreturn]] void fail(const std::string& problem) { throw Error(Code::internal, problem); }

// ---- rope

struct TriedGeometry {
  okapi_rope_geometry c{};
  std::vector<double> plain;
};

std::vector<TriedGeometry> tried_geometries() {
  std::vector<TriedGeometry> all;
  for (const int32_t dim : {8, 64, 128}) {
    for (const int32_t phase : {OKAPI_PHASE_EVALUATE, OKAPI_PHASE_TRAIN}) {
      for (const int64_t target : {int64_t{256}, int64_t{2048}, int64_t{32768}}) {
        TriedGeometry geometry;
        for (int32_t pair = 0; pair < dim / 2; ++pair) {
          geometry.plain.push_back(std::pow(10000.0, -2.0 * pair / dim));
        }
        okapi_rope_geometry& c = geometry.c;
        c.struct_size = sizeof c;
        c.phase = phase;
        c.head_dim = dim;
        c.rotary_dim = dim;
        c.n_layers = 2;
        c.base = 10000.0;
        c.trained_length = 2048;
        c.target_length = target;
        c.seed = 1;
        c.rotation_gain = 1;
        c.attention_temperature = 1;
        all.push_back(std::move(geometry));
        all.back().c.inv_freq = all.back().plain.data();
      }
    }
  }
  return all;
}

using RopeProbe = std::function<void(const RopeInstance&, TriedGeometry&)>;

std::string over_geometries(const std::shared_ptr<const RopeScheme>& scheme,
                            const RopeProbe& probe) {
  int n_tried = 0;
  for (TriedGeometry& geometry : tried_geometries()) {
    geometry.c.inv_freq = geometry.plain.data();
    const okapi_rope_geometry& c = geometry.c;
    const ParamFacts facts{c.base, c.trained_length, c.target_length, c.head_dim, c.rotary_dim};
    const Json given = example_params(scheme->parameters(), static_cast<size_t>(c.rotary_dim / 2));
    const RopeInstance instance(scheme, scheme->parameters().resolve(given, &facts));
    probe(instance, geometry);
    ++n_tried;
  }
  return std::to_string(n_tried) +
         " geometries: head_dim 8, 64, 128; lengths below, at and above the trained one";
}

void probe_table(const RopeInstance& instance, TriedGeometry& geometry) {
  std::vector<double> inv_freq = geometry.plain;
  double gain = 1;
  double temperature = 1;
  instance.table(geometry.c, inv_freq, gain, temperature);
}

void probe_positions(const RopeInstance& instance, TriedGeometry& geometry) {
  if (!instance.has_positions(geometry.c.phase == OKAPI_PHASE_TRAIN)) return;
  // No more than the target length: a scheme may draw without replacement from what that allows.
  const int64_t n = std::min(kPositionsTried, geometry.c.target_length);
  std::vector<double> positions(static_cast<size_t>(n));
  instance.positions(geometry.c, positions);
}

void probe_magnitudes(const RopeInstance& instance, TriedGeometry& geometry) {
  if (!instance.has_magnitudes()) return;
  std::vector<double> positions(static_cast<size_t>(kPositionsTried));
  std::iota(positions.begin(), positions.end(), 0.0);
  std::vector<double> log_q(positions.size() * geometry.plain.size());
  std::vector<double> log_k(log_q.size());
  instance.log_magnitude(geometry.c, positions, log_q, log_k);
}

void probe_claims(const RopeInstance& instance, TriedGeometry& geometry) {
  instance.check_claims(geometry.c);
}

void check_rope(Checker& checker, const std::shared_ptr<const LoadedPlugin>& plugin) {
  std::shared_ptr<const RopeScheme> scheme;
  const bool has_table = checker.check("rope: has a table of functions", [&] {
    scheme = std::make_shared<const RopeScheme>(plugin);
    return std::string(OKAPI_ROPE_EXTENSION);
  });
  if (!has_table) return;
  const bool makes_tables = checker.check(
      "rope: frequencies are finite, of the right number and the same when asked twice",
      [&] { return over_geometries(scheme, probe_table); });
  if (!makes_tables) return;
  checker.check("rope: plain at scale 1, where it claims to be",
                [&] { return over_geometries(scheme, probe_claims); });
  checker.check("rope: positions are finite, ascending and reproducible",
                [&] { return over_geometries(scheme, probe_positions); });
  checker.check("rope: magnitudes are finite",
                [&] { return over_geometries(scheme, probe_magnitudes); });
}

// ---- datasets and tasks

void expect_same(const Json& a, const Json& b, const std::string& what) {
  if (a != b)
    fail(what + " differ: " + a.dump().substr(0, 200) + " and " + b.dump().substr(0, 200));
}

int64_t n_to_try(int64_t count) {
  return count < 0 ? kRecordsTried : std::min(count, kRecordsTried);
}

/// The first required text that is not given, "" if there is none.
std::string missing_text(const ParamSchema& schema, const Json& given) {
  for (const ParamSpec& spec : schema.specs()) {
    if (spec.is_required && spec.type == OKAPI_PARAM_STRING && !given.contains(spec.name)) {
      return spec.name;
    }
  }
  return "";
}

void check_dataset(Checker& checker, const std::shared_ptr<const LoadedPlugin>& loaded,
                   const Json& parameters) {
  std::shared_ptr<const DatasetPlugin> plugin;
  std::shared_ptr<const Dataset> dataset;
  const std::string missing = missing_text(loaded->metadata().parameters, parameters);
  const bool has_table = checker.check("dataset: has a table of functions", [&] {
    plugin = std::make_shared<const DatasetPlugin>(loaded);
    return missing.empty() ? std::string(OKAPI_DATASET_EXTENSION)
                           : "its records are not checked, which takes a value of " + missing;
  });
  if (!has_table || !missing.empty()) return;
  Json given = example_params(loaded->metadata().parameters, 4);
  given.update(parameters);
  const bool opens = checker.check("dataset: opens", [&] {
    dataset = plugin->open(given, 1, byte_tokenizer());
    return "count " + std::to_string(dataset->count());
  });
  if (!opens) return;
  const int64_t n = n_to_try(dataset->count());
  const bool reads = checker.check("dataset: records are well formed", [&] {
    for (int64_t i = 0; i < n; ++i) static_cast<void>(dataset->record(i).json());
    return std::to_string(n) + " records";
  });
  if (!reads) return;
  checker.check("dataset: records depend on parameters, seed and index alone", [&] {
    const std::shared_ptr<const Dataset> again = plugin->open(given, 1, byte_tokenizer());
    for (int64_t i = n - 1; i >= 0; --i) {
      expect_same(dataset->record(i).json(), again->record(i).json(),
                  "records " + std::to_string(i));
    }
    return std::to_string(n) + " records, read backwards from a second one";
  });
}

Json item_json(const TaskItem& item) {
  Json parts = Json::array();
  for (const TaskItemPart& part : item.parts)
    parts.push_back(part.is_ids ? Json(part.ids) : Json(part.text));
  return {
      {"kind", item.kind},
      {"key", item.key},
      {"parts", parts},
      {"target_length", item.target_length},
      {"max_new_tokens", item.max_new_tokens},
      {"scored_begin", item.scored_begin},
      {"scored_end", item.scored_end},
      {"attributes", fields_json(item.attributes)},
      {"scoring_data", std::vector<uint8_t>(item.scoring_data.begin(), item.scoring_data.end())}};
}

Json score_json(const TaskScore& score) {
  Json values = Json::object();
  for (const TaskScore::Value& value : score.values)
    values[value.name] = {value.value, value.weight};
  return {{"values", values}, {"parsed", score.parsed ? Json(*score.parsed) : Json()}};
}

TaskOutput example_output(const TaskItem& item) {
  TaskOutput output;
  output.n_prompt_tokens = 16;
  if (item.kind == OKAPI_ITEM_SCORE) {
    output.stop_reason = OKAPI_STOP_SCORED;
    output.losses.assign(8, 1.5);
    return output;
  }
  output.text = "The answer is 12345.";
  output.ids = byte_tokenizer()->encode(output.text, false);
  return output;
}

void check_task(Checker& checker, const std::shared_ptr<const LoadedPlugin>& loaded) {
  std::shared_ptr<const TaskPlugin> plugin;
  std::shared_ptr<const Task> task;
  const Json given = example_params(loaded->metadata().parameters, 4);
  const bool declares = checker.check("task: declares its version and metrics", [&] {
    plugin = std::make_shared<const TaskPlugin>(loaded);
    return "version " + plugin->task_version() + ", " + std::to_string(plugin->metrics().size()) +
           " metrics";
  });
  if (!declares || plugin->needs_records()) return;
  const bool opens = checker.check("task: opens", [&] {
    task = plugin->open(given, 1, byte_tokenizer(), nullptr);
    return "count " + std::to_string(task->count());
  });
  if (!opens) return;
  const int64_t n = n_to_try(task->count());
  const bool asks = checker.check("task: items are well formed, under keys of their own", [&] {
    std::vector<std::string> keys;
    for (int64_t i = 0; i < n; ++i) keys.push_back(task->item(i).key);
    std::sort(keys.begin(), keys.end());
    if (std::adjacent_find(keys.begin(), keys.end()) != keys.end())
      fail("two items have the same key");
    return std::to_string(n) + " items";
  });
  if (!asks) return;
  checker.check("task: items depend on parameters, seed and index alone", [&] {
    const std::shared_ptr<const Task> again = plugin->open(given, 1, byte_tokenizer(), nullptr);
    for (int64_t i = n - 1; i >= 0; --i) {
      expect_same(item_json(task->item(i)), item_json(again->item(i)),
                  "items " + std::to_string(i));
    }
    return std::to_string(n) + " items, read backwards from a second one";
  });
  checker.check("task: scores depend on item and output alone", [&] {
    const std::shared_ptr<const Task> again = plugin->open(given, 1, byte_tokenizer(), nullptr);
    for (int64_t i = 0; i < n; ++i) {
      const TaskItem item = task->item(i);
      for (const TaskOutput& output : {example_output(item), TaskOutput{}}) {
        expect_same(score_json(task->score(item, output)), score_json(again->score(item, output)),
                    "scores of item " + std::to_string(i));
      }
    }
    return std::to_string(n) + " items, an answer and an empty one";
  });
}

}  // namespace

std::vector<ConformanceCheck> check_plugin(const std::filesystem::path& path,
                                           const std::shared_ptr<const Logger>& logger,
                                           const Json& given) {
  Checker checker;
  PluginMetadata metadata;
  std::shared_ptr<const LoadedPlugin> loaded;
  const bool is_readable = checker.check("entry is readable without running the plugin", [&] {
    metadata = read_plugin_metadata(std::filesystem::absolute(path));
    return metadata.id + " " + metadata.version;
  });
  const bool is_loaded = is_readable && checker.check("library loads and initialises", [&] {
    loaded = LoadedPlugin::load(metadata, logger);
    return "sha256 " + loaded->identity().sha256;
  });
  if (is_loaded) {
    checker.check("unknown extensions are refused", [&] {
      if (loaded->extension("okapi.none/1") != nullptr) fail("gave a table for okapi.none/1");
      return std::string("okapi.none/1");
    });
    for (const std::string& kind : metadata.kinds) {
      if (kind == "rope") check_rope(checker, loaded);
      if (kind == "dataset") check_dataset(checker, loaded, given);
      if (kind == "task") check_task(checker, loaded);
    }
  }
  return checker.take();
}

Json conformance_json(const std::vector<ConformanceCheck>& checks) {
  Json list = Json::array();
  bool passed = true;
  for (const ConformanceCheck& check : checks) {
    list.push_back({{"check", check.check}, {"passed", check.passed}, {"detail", check.detail}});
    passed = passed && check.passed;
  }
  return {{"passed", passed}, {"checks", list}};
}

}  // namespace okapi
