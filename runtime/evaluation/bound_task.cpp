#include "runtime/evaluation/bound_task.h"

#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/sha256.h"
#include "runtime/plugin_host/plugin_host.h"
#include "runtime/results/aggregate.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

namespace {

void require_tokenizer(const std::shared_ptr<const Tokenizer>& tokenizer) {
  if (tokenizer != nullptr) return;
  throw Error(Code::failed_precondition, "a task needs a tokenizer to turn its prompts into ids")
      .in("evaluation")
      .field("tokenizer");
}

/// Those of the task's parameters that the dataset declares as well.
Json shared_parameters(const Json& parameters, const DatasetPlugin& dataset) {
  Json shared = Json::object();
  for (const auto& [name, value] : parameters.items()) {
    if (dataset.parameters().find(name) != nullptr) shared[name] = value;
  }
  return shared;
}

/// Where a plugin lies changes no number; what it is does.
Json plugin_identity(const PluginIdentity& plugin) {
  return {{"id", plugin.id}, {"version", plugin.version}, {"sha256", plugin.sha256}};
}

}  // namespace

std::shared_ptr<const BoundTask> BoundTask::open(const PluginHost& host, std::string_view name,
                                                 const Json& parameters, uint64_t seed,
                                                 std::shared_ptr<const Tokenizer> tokenizer,
                                                 std::shared_ptr<const Dataset> dataset) {
  require_tokenizer(tokenizer);
  const std::shared_ptr<const TaskPlugin> plugin = host.task(name);
  const auto functions = tokenizer_functions(tokenizer);
  if (dataset == nullptr && !plugin->default_dataset().empty()) {
    const std::shared_ptr<const DatasetPlugin> chosen = host.dataset(plugin->default_dataset());
    dataset = chosen->open(shared_parameters(parameters, *chosen), seed, functions);
  }

  std::shared_ptr<BoundTask> bound(new BoundTask);
  bound->task_ = plugin->open(parameters, seed, functions, dataset);
  bound->tokenizer_ = std::move(tokenizer);
  bound->dataset_ = std::move(dataset);
  return bound;
}

std::shared_ptr<const BoundTask> BoundTask::open_prompts(
    const PluginHost& host, std::string_view name, const Json& parameters, const Json& prompts,
    const std::string& source, std::shared_ptr<const Tokenizer> tokenizer) {
  require_tokenizer(tokenizer);
  if (prompts.is_array() && prompts.empty()) {
    throw Error(Code::invalid_argument, source + ": wanted at least one prompt, found none")
        .in("evaluation")
        .field(source);
  }
  std::shared_ptr<BoundTask> bound(new BoundTask);
  bound->prompts_source_ = source;
  bound->task_ = host.task(name)->open(parameters, /*seed=*/0, tokenizer_functions(tokenizer),
                                       records_from_json(prompts, source));
  bound->tokenizer_ = std::move(tokenizer);
  const std::string text = prompts.dump();
  bound->prompts_sha256_ = sha256_of(text.data(), text.size());
  return bound;
}

PreparedItem BoundTask::item(int64_t index) const {
  try {
    return prepare_item(index, task_->item(index), *tokenizer_);
  } catch (const Error& error) {
    if (prompts_source_.empty() || !error.file().empty()) throw;
    throw Error(error).at(prompts_source_ + "[" + std::to_string(index) + "]");
  }
}

Json BoundTask::item_json(int64_t index) const {
  const PreparedItem prepared = item(index);
  const TaskItem& item = prepared.item;
  const Json attributes = fields_json(item.attributes);
  Json json = {{"index", index},
               {"key", item.key},
               {"kind", item.kind == OKAPI_ITEM_SCORE ? "score" : "complete"},
               {"prompt", prepared.prompt},
               {"prompt_ids", prepared.ids},
               {"n_tokens", prepared.ids.size()},
               {"attributes", attributes},
               {"expected", attributes.contains("expected") ? attributes["expected"] : Json()}};
  if (item.kind == OKAPI_ITEM_COMPLETE) {
    json["max_tokens"] = item.max_new_tokens;
    json["min_tokens"] = item.min_new_tokens;
    json["ignore_eos"] = item.ignores_eos;
    json["stop_texts"] = item.stop_texts;
    json["stop_ids"] = item.stop_ids;
  } else {
    json["scored_begin"] = item.scored_begin;
    json["scored_end"] = item.scored_end;
  }
  return json;
}

Json BoundTask::score_json(int64_t index, const std::string& output) const {
  const PreparedItem prepared = item(index);
  TaskOutput made;
  made.text = output;
  made.n_prompt_tokens = static_cast<int64_t>(prepared.ids.size());
  const TaskScore score = task_->score(prepared.item, made);

  Sample sample;
  sample.parsed = score.parsed;
  for (const TaskScore::Value& value : score.values) {
    sample.values.push_back({value.name, value.value, value.weight});
  }
  return score_of(sample, metrics());
}

std::vector<Metric> BoundTask::metrics() const {
  std::vector<Metric> metrics;
  for (const TaskMetric& metric : task_->plugin().metrics()) {
    metrics.push_back(
        {metric.name, metric.help, static_cast<Aggregate>(metric.aggregate), metric.better});
  }
  return metrics;
}

Json BoundTask::identity() const {
  Json identity = plugin_identity(task_->plugin().identity());
  identity["task_version"] = task_->plugin().task_version();
  identity["parameters"] = Json::parse(task_->params().json_text());
  identity["seed"] = task_->seed();
  identity["tokenizer_sha256"] = tokenizer_->sha256();
  if (dataset_ != nullptr) {
    identity["dataset"] = plugin_identity(dataset_->identity());
    identity["dataset"]["parameters"] = Json::parse(dataset_->params().json_text());
    identity["dataset"]["seed"] = dataset_->seed();
  }
  if (!prompts_sha256_.empty()) identity["prompts_sha256"] = prompts_sha256_;
  return identity;
}

Json BoundTask::describe() const {
  Json description = task_->describe();
  description["tokenizer_sha256"] = tokenizer_->sha256();
  description["dataset"] = dataset_ != nullptr ? dataset_->describe() : Json();
  if (!prompts_sha256_.empty()) description["prompts_sha256"] = prompts_sha256_;
  return description;
}

}  // namespace okapi
