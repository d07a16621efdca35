// A task plugin, and a task opened from it: items to run on a model, and the scores of what it
// made.
//
//   auto task = host.task("lines")->open({{"length", 512}}, /*seed=*/1, tokenizer, nullptr);
//   TaskItem item = task->item(0);
//   TaskScore score = task->score(item, output);
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <okapi/plugin/task.h>

#include "runtime/plugin_host/loaded_plugin.h"
#include "runtime/plugin_host/records.h"

namespace okapi {

/// Text to encode, or ids as they are.
struct TaskItemPart {
  std::string text;
  std::vector<int32_t> ids;
  bool is_ids = false;
};

/// okapi_item, owning what it points to.
struct TaskItem {
  int32_t kind = OKAPI_ITEM_COMPLETE;
  std::string key;
  std::vector<TaskItemPart> parts;
  int32_t bos = OKAPI_BOS_MODEL;
  bool ignores_eos = false;
  int64_t target_length = 0;
  int64_t min_new_tokens = 0;
  int64_t max_new_tokens = 0;
  std::vector<std::string> stop_texts;
  std::vector<int32_t> stop_ids;
  int64_t scored_begin = 0;
  int64_t scored_end = 0;
  std::vector<RecordField> attributes;
  std::string scoring_data;
};

/// What a model made of an item.
struct TaskOutput {
  int32_t stop_reason = OKAPI_STOP_LENGTH;
  std::string text;
  std::vector<int32_t> ids;
  std::vector<double> losses;  ///< nats
  int64_t n_prompt_tokens = 0;
};

struct TaskMetric {
  std::string name;
  std::string help;
  int32_t aggregate = OKAPI_AGGREGATE_MEAN;
  int32_t better = 0;
};

struct TaskScore {
  struct Value {
    std::string name;
    double value = 0;
    double weight = 1;
  };
  std::vector<Value> values;
  std::optional<std::string> parsed;
};

class Task;

class TaskPlugin : public std::enable_shared_from_this<TaskPlugin> {
 public:
  explicit TaskPlugin(std::shared_ptr<const LoadedPlugin> plugin);

  const PluginIdentity& identity() const { return identity_; }
  const ParamSchema& parameters() const { return plugin_->metadata().parameters; }
  const std::string& task_version() const { return task_version_; }
  const std::vector<TaskMetric>& metrics() const { return metrics_; }
  const std::vector<std::string>& group_by() const { return group_by_; }
  const std::string& default_dataset() const { return default_dataset_; }  ///< "": none
  bool needs_records() const { return (table_.flags & OKAPI_TASK_NEEDS_RECORDS) != 0; }

  /// `params` is a JSON object of what was given; `records` may be null. Throws what the check of
  /// the parameters or the plugin says.
  std::shared_ptr<const Task> open(const Json& params, uint64_t seed,
                                   std::shared_ptr<const TokenizerFunctions> tokenizer,
                                   std::shared_ptr<const RecordSource> records) const;

 private:
  friend class Task;

  std::shared_ptr<const LoadedPlugin> plugin_;
  PluginIdentity identity_;
  okapi_task_v1 table_{};
  std::string task_version_;
  std::vector<TaskMetric> metrics_;
  std::vector<std::string> group_by_;
  std::string default_dataset_;
};

/// Functions are const and may be called from several threads at once.
class Task {
 public:
  Task(std::shared_ptr<const TaskPlugin> plugin, std::shared_ptr<const ParamValues> params,
       uint64_t seed, std::shared_ptr<const TokenizerFunctions> tokenizer,
       std::shared_ptr<const RecordSource> records);
  ~Task();
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  const TaskPlugin& plugin() const { return *plugin_; }
  const ParamValues& params() const { return *params_; }
  uint64_t seed() const { return seed_; }

  int64_t count() const { return count_; }  ///< -1: endless
  TaskItem item(int64_t index) const;
  TaskScore score(const TaskItem& item, const TaskOutput& output) const;

  /// Plugin, task version, metrics and how each is aggregated, parameters in force, seed, count.
  Json describe() const;

 private:
  std::unique_lock<std::mutex> lock() const;
  const std::string& component() const { return plugin_->parameters().owner(); }

  std::shared_ptr<const TaskPlugin> plugin_;
  std::shared_ptr<const ParamValues> params_;
  uint64_t seed_;
  HostTable host_;
  std::shared_ptr<const RecordSource> source_;
  LentRecords records_;
  void* instance_ = nullptr;
  int64_t count_ = 0;
  mutable std::mutex mutex_;
};

}  // namespace okapi
