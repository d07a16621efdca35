// A task with what it works on: the tokenizer it counts with, and the records it reads.
//
//   auto task = BoundTask::open(host, "lines", {{"length", 1024}}, /*seed=*/1, tokenizer, nullptr);
//   PreparedItem first = task->item(0);
//   Json score = task->score_json(0, "17>");
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/evaluation/prompt.h"
#include "runtime/plugin_host/dataset_plugin.h"
#include "runtime/results/records.h"

namespace okapi {

class PluginHost;

/// Functions are const and may be called from several threads at once.
class BoundTask {
 public:
  /// `dataset` may be null: the task then opens the one it names, if any, under its own seed and
  /// with those of the given parameters that the dataset declares too. Throws not_found,
  /// invalid_argument.
  static std::shared_ptr<const BoundTask> open(const PluginHost& host, std::string_view name,
                                               const Json& parameters, uint64_t seed,
                                               std::shared_ptr<const Tokenizer> tokenizer,
                                               std::shared_ptr<const Dataset> dataset);

  /// Over prompts that are given: a JSON array of objects. `source` names them in errors.
  static std::shared_ptr<const BoundTask> open_prompts(const PluginHost& host,
                                                       std::string_view name,
                                                       const Json& parameters, const Json& prompts,
                                                       const std::string& source,
                                                       std::shared_ptr<const Tokenizer> tokenizer);

  int64_t count() const { return task_->count(); }  ///< -1: endless
  PreparedItem item(int64_t index) const;

  /// Name, prompt, ids, budget, stop rule, expected answer and attributes of an item.
  Json item_json(int64_t index) const;

  /// What an output is worth: the task's metrics, and "parsed".
  Json score_json(int64_t index, const std::string& output) const;
  TaskScore score(const TaskItem& item, const TaskOutput& output) const {
    return task_->score(item, output);
  }

  std::vector<Metric> metrics() const;
  const std::vector<std::string>& group_by() const { return task_->plugin().group_by(); }
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }
  /// Whether items come from records, which a change of their file could change.
  bool has_records() const { return dataset_ != nullptr || has_given_prompts(); }
  bool has_given_prompts() const { return !prompts_sha256_.empty(); }

  /// All that decides items and scores: plugin, versions, parameters, seed, records, tokenizer.
  Json identity() const;
  Json describe() const;

 private:
  BoundTask() = default;

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const Dataset> dataset_;  ///< null: none, or given prompts
  std::string prompts_source_;              ///< what messages call given prompts
  std::string prompts_sha256_;              ///< of given prompts; "": none
  std::shared_ptr<const Task> task_;
};

}  // namespace okapi
