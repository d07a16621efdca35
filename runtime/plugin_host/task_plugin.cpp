#include "runtime/plugin_host/task_plugin.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/plugin_host/plugin_call.h"
#include "runtime/plugin_host/plugin_metadata.h"
#include "runtime/plugin_host/plugin_table.h"

namespace okapi {

namespace {

Error broken(const std::string& component, const std::string& field, const std::string& problem) {
  return Error(Code::internal, component + ": " + field + ": " + problem)
      .in(component)
      .field(field);
}

const char* aggregate_name(int32_t aggregate) {
  switch (aggregate) {
    case OKAPI_AGGREGATE_RATE:
      return "rate";
    case OKAPI_AGGREGATE_WEIGHTED_MEAN:
      return "weighted_mean";
    case OKAPI_AGGREGATE_SUM:
      return "sum";
    default:
      return "mean";
  }
}

std::string checked_text(const char* text, int64_t n_bytes, const std::string& component,
                         const char* field) {
  std::string copy(text, static_cast<size_t>(n_bytes));
  if (!is_utf8(copy)) throw broken(component, field, "is not UTF-8");
  return copy;
}

std::vector<int32_t> copy_ids(const int32_t* ids, int64_t n_ids) { return {ids, ids + n_ids}; }

/// Sizes that a later read would trust.
void check_item(const okapi_item& item, const std::string& component) {
  const auto require = [&](bool holds, const char* field, const char* problem) {
    if (!holds) throw broken(component, field, problem);
  };
  require(item.kind == OKAPI_ITEM_COMPLETE || item.kind == OKAPI_ITEM_SCORE, "kind", "is none");
  require(item.key != nullptr && *item.key != '\0', "key", "is missing");
  require(item.n_parts > 0 && item.parts != nullptr, "parts", "there are none");
  require(item.bos >= OKAPI_BOS_MODEL && item.bos <= OKAPI_BOS_NONE, "bos", "is no rule");
  require(item.kind != OKAPI_ITEM_COMPLETE || item.max_new_tokens >= 1, "max_new_tokens",
          "wanted at least 1");
  require(item.target_length >= 0, "target_length", "is negative");
  require(item.min_new_tokens >= 0, "min_new_tokens", "is negative");
  require(item.scored_begin >= 0 && item.scored_end >= 0, "scored_begin", "is negative");
  require(item.n_stop_texts == 0 || (item.n_stop_texts > 0 && item.stop_texts != nullptr),
          "stop_texts", "are missing");
  require(item.n_stop_ids == 0 || (item.n_stop_ids > 0 && item.stop_ids != nullptr), "stop_ids",
          "are missing");
  require(item.n_attributes == 0 || (item.n_attributes > 0 && item.attributes != nullptr),
          "attributes", "are missing");
  require(item.n_scoring_bytes == 0 || (item.n_scoring_bytes > 0 && item.scoring_data != nullptr),
          "scoring_data", "is missing");
}

TaskItemPart copy_part(const okapi_item_part& from, const std::string& component) {
  if ((from.text != nullptr) == (from.ids != nullptr) || from.n_bytes < 0 || from.n_ids < 0) {
    throw broken(component, "parts", "a part is either text or ids");
  }
  if (from.ids != nullptr) return {{}, copy_ids(from.ids, from.n_ids), true};
  return {checked_text(from.text, from.n_bytes, component, "parts"), {}, false};
}

TaskItem copy_item(const okapi_item& from, const std::string& component) {
  check_item(from, component);
  TaskItem item;
  item.kind = from.kind;
  item.key = from.key;
  for (int64_t i = 0; i < from.n_parts; ++i)
    item.parts.push_back(copy_part(from.parts[i], component));
  item.bos = from.bos;
  item.ignores_eos = from.ignores_eos != 0;
  item.target_length = from.target_length;
  item.min_new_tokens = from.min_new_tokens;
  item.max_new_tokens = from.max_new_tokens;
  item.stop_texts.assign(from.stop_texts, from.stop_texts + from.n_stop_texts);
  item.stop_ids = copy_ids(from.stop_ids, from.n_stop_ids);
  item.scored_begin = from.scored_begin;
  item.scored_end = from.scored_end;
  item.attributes = copy_fields(from.attributes, static_cast<size_t>(from.n_attributes), component);
  if (from.n_scoring_bytes > 0) {
    item.scoring_data.assign(static_cast<const char*>(from.scoring_data),
                             static_cast<size_t>(from.n_scoring_bytes));
  }
  return item;
}

/// okapi_item over a TaskItem, for the way back to the plugin.
class LentItem {
 public:
  explicit LentItem(const TaskItem& item) {
    for (const TaskItemPart& part : item.parts) {
      if (part.is_ids) {
        parts_.push_back({nullptr, 0, part.ids.data(), static_cast<int64_t>(part.ids.size())});
      } else {
        parts_.push_back({part.text.c_str(), static_cast<int64_t>(part.text.size()), nullptr, 0});
      }
    }
    for (const std::string& text : item.stop_texts) stop_texts_.push_back(text.c_str());
    for (const RecordField& field : item.attributes) {
      attributes_.push_back({field.name.c_str(), field.type, 0, field.number, field.text.c_str(),
                             static_cast<int64_t>(field.text.size())});
    }
    table_.struct_size = sizeof table_;
    table_.kind = item.kind;
    table_.key = item.key.c_str();
    table_.parts = parts_.data();
    table_.n_parts = static_cast<int64_t>(parts_.size());
    table_.bos = item.bos;
    table_.ignores_eos = item.ignores_eos ? 1 : 0;
    table_.target_length = item.target_length;
    table_.min_new_tokens = item.min_new_tokens;
    table_.max_new_tokens = item.max_new_tokens;
    table_.stop_texts = stop_texts_.data();
    table_.n_stop_texts = static_cast<int64_t>(stop_texts_.size());
    table_.stop_ids = item.stop_ids.data();
    table_.n_stop_ids = static_cast<int64_t>(item.stop_ids.size());
    table_.scored_begin = item.scored_begin;
    table_.scored_end = item.scored_end;
    table_.attributes = attributes_.data();
    table_.n_attributes = static_cast<int64_t>(attributes_.size());
    table_.scoring_data = item.scoring_data.data();
    table_.n_scoring_bytes = static_cast<int64_t>(item.scoring_data.size());
  }
  LentItem(const LentItem&) = delete;
  LentItem& operator=(const LentItem&) = delete;

  const okapi_item* table() const { return &table_; }

 private:
  std::vector<okapi_item_part> parts_;
  std::vector<const char*> stop_texts_;
  std::vector<okapi_field> attributes_;
  okapi_item table_{};
};

okapi_item_output lend_output(const TaskOutput& output) {
  okapi_item_output table{};
  table.struct_size = sizeof table;
  table.stop_reason = output.stop_reason;
  table.text = output.text.c_str();
  table.n_bytes = static_cast<int64_t>(output.text.size());
  table.ids = output.ids.data();
  table.n_ids = static_cast<int64_t>(output.ids.size());
  table.losses = output.losses.data();
  table.n_losses = static_cast<int64_t>(output.losses.size());
  table.n_prompt_tokens = output.n_prompt_tokens;
  return table;
}

}  // namespace

TaskPlugin::TaskPlugin(std::shared_ptr<const LoadedPlugin> plugin)
    : plugin_(std::move(plugin)),
      identity_(plugin_->identity()),
      table_(read_plugin_table(
          static_cast<const okapi_task_v1*>(plugin_->extension(OKAPI_TASK_EXTENSION)),
          sizeof(okapi_task_v1), plugin_->metadata().parameters.owner())) {
  const std::string& component = parameters().owner();
  if (table_.task_version == nullptr) throw broken(component, "task_version", "is missing");
  if (table_.n_metrics < 1 || table_.metrics == nullptr)
    throw broken(component, "metrics", "there are none");
  task_version_ = table_.task_version;
  for (int64_t i = 0; i < table_.n_metrics; ++i) {
    const okapi_metric& metric = table_.metrics[i];
    if (metric.aggregate < OKAPI_AGGREGATE_RATE || metric.aggregate > OKAPI_AGGREGATE_SUM) {
      throw broken(component, "metrics", "an aggregate is none");
    }
    metrics_.push_back(
        {metric.name, metric.help == nullptr ? "" : metric.help, metric.aggregate, metric.better});
  }
  for (int64_t i = 0; i < table_.n_group_by; ++i) group_by_.emplace_back(table_.group_by[i]);
  if (table_.default_dataset != nullptr) default_dataset_ = table_.default_dataset;
}

std::shared_ptr<const Task> TaskPlugin::open(const Json& params, uint64_t seed,
                                             std::shared_ptr<const TokenizerFunctions> tokenizer,
                                             std::shared_ptr<const RecordSource> records) const {
  if (needs_records() && records == nullptr) {
    throw Error(Code::invalid_argument,
                parameters().owner() + ": needs a dataset, or prompts, to work on")
        .in(parameters().owner())
        .field("dataset");
  }
  return std::make_shared<const Task>(shared_from_this(), parameters().resolve(params, nullptr),
                                      seed, std::move(tokenizer), std::move(records));
}

Task::Task(std::shared_ptr<const TaskPlugin> plugin, std::shared_ptr<const ParamValues> params,
           uint64_t seed, std::shared_ptr<const TokenizerFunctions> tokenizer,
           std::shared_ptr<const RecordSource> records)
    : plugin_(std::move(plugin)),
      params_(std::move(params)),
      seed_(seed),
      host_(plugin_->plugin_->logger(), component(), std::move(tokenizer)),
      source_(records),
      records_(std::move(records)) {
  const okapi_task_v1& table = plugin_->table_;
  call_plugin(component(), [&](const okapi_error_sink* sink) {
    return table.open(plugin_->plugin_->state(), params_->table(), seed_, host_.table(),
                      records_.table(), &instance_, sink);
  });
  try {
    call_plugin(component(), [&](const okapi_error_sink* sink) {
      return table.count(instance_, &count_, sink);
    });
    if (count_ < -1) throw broken(component(), "count", "wanted at least -1");
  } catch (...) {
    table.close(instance_);
    throw;
  }
}

Task::~Task() { plugin_->table_.close(instance_); }

std::unique_lock<std::mutex> Task::lock() const {
  if ((plugin_->table_.flags & OKAPI_TASK_THREAD_SAFE) != 0) return {};
  return std::unique_lock(mutex_);
}

TaskItem Task::item(int64_t index) const {
  if (index < 0 || (count_ >= 0 && index >= count_)) {
    throw Error(Code::out_of_range, component() + ": wanted item " + std::to_string(index) +
                                        " of " + std::to_string(count_))
        .in(component())
        .field("index");
  }
  const Arena arena;
  okapi_item item{};
  item.struct_size = sizeof item;
  const std::unique_lock<std::mutex> held = lock();
  call_plugin(component(), [&](const okapi_error_sink* sink) {
    return plugin_->table_.item(instance_, index, arena.table(), &item, sink);
  });
  return copy_item(item, component());
}

TaskScore Task::score(const TaskItem& item, const TaskOutput& output) const {
  const Arena arena;
  const LentItem lent(item);
  const okapi_item_output made = lend_output(output);
  okapi_item_score answer{};
  answer.struct_size = sizeof answer;
  const std::unique_lock<std::mutex> held = lock();
  call_plugin(component(), [&](const okapi_error_sink* sink) {
    return plugin_->table_.score(instance_, lent.table(), &made, arena.table(), &answer, sink);
  });

  TaskScore score;
  const std::vector<TaskMetric>& metrics = plugin_->metrics();
  for (uint32_t i = 0; i < answer.n_values; ++i) {
    const okapi_metric_value& value = answer.values[i];
    const std::string name = value.name == nullptr ? "" : value.name;
    const auto declared =
        std::find_if(metrics.begin(), metrics.end(),
                     [&](const TaskMetric& metric) { return metric.name == name; });
    if (declared == metrics.end())
      throw broken(component(), name, "is a metric the task does not declare");
    if (!std::isfinite(value.value) || !std::isfinite(value.weight) || value.weight < 0) {
      throw broken(component(), name, "is not finite");
    }
    if (declared->aggregate == OKAPI_AGGREGATE_RATE && value.value != 0 && value.value != 1) {
      throw broken(component(), name, "is a flag, wanted 0 or 1");
    }
    score.values.push_back({name, value.value, value.weight});
  }
  if (answer.parsed != nullptr) score.parsed = answer.parsed;
  return score;
}

Json Task::describe() const {
  Json metrics = Json::array();
  for (const TaskMetric& metric : plugin_->metrics()) {
    metrics.push_back({{"name", metric.name},
                       {"help", metric.help},
                       {"aggregate", aggregate_name(metric.aggregate)},
                       {"better", metric.better > 0   ? "higher"
                                  : metric.better < 0 ? "lower"
                                                      : "neither"}});
  }
  Json json = {{"plugin", plugin_->identity().json()},
               {"task_version", plugin_->task_version()},
               {"metrics", metrics},
               {"group_by", plugin_->group_by()},
               {"parameters", Json::parse(params_->json_text())},
               {"seed", seed_},
               {"count", count_}};
  if (source_ != nullptr) json["records"] = source_->name();
  return json;
}

}  // namespace okapi
