// A task put to a model under a rope. Each sample is kept as it finishes; a run that was killed, or
// cancelled, goes on where it stopped.
//
//   auto evaluation = Evaluation::create(task, model, {.rope = rope, .results = results});
//   evaluation->run({});
//   Json report = evaluation->report();
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "runtime/base/json.h"
#include "runtime/evaluation/bound_task.h"
#include "runtime/generation/session.h"
#include "runtime/results/results.h"

namespace okapi {

class AdapterWeights;
class CancelToken;
class SequenceBatch;
struct Answer;

struct EvaluationOptions {
  std::shared_ptr<const Rope> rope;  ///< null: what the model's configuration says
  /// Auto: each item's prompt and output together. Follow: the tokens so far, of given prompts no
  /// less than the longest input before (longest_input.h).
  int64_t rope_length = kRopeLengthAuto;
  int64_t batch_size = 0;            ///< most sequences in flight; 0: what memory and use suggest
  std::shared_ptr<Results> results;  ///< null: samples are kept in this object alone
  int64_t max_samples = 0;           ///< the first so many items; 0: all
  std::shared_ptr<const AdapterWeights> adapter;  ///< beside the model's weights; null: none
  bool deterministic = false;  ///< answers are the same to the bit at every batch size
};

struct RunOptions {
  std::function<void(int64_t n_done, int64_t n_items)> progress;  ///< on the calling thread
  std::shared_ptr<const CancelToken> cancel;
};

/// Not for two threads at once.
class Evaluation {
 public:
  /// Takes over the samples that `results` holds of the same run. Throws failed_precondition if the
  /// task counts with another tokenizer than the model's, or if the task's records are no longer
  /// those that stored samples were asked with; invalid_argument on options out of range.
  static std::shared_ptr<Evaluation> create(std::shared_ptr<const BoundTask> task,
                                            std::shared_ptr<const Model> model,
                                            const EvaluationOptions& options);
  ~Evaluation();

  /// Computes the samples that are missing. Throws cancelled, or what failed; all samples that had
  /// finished are kept, and calling again goes on.
  void run(const RunOptions& options);

  /// "metrics", "groups", "n_done", "n_items", "prefill" (of what this object computed), "run", and
  /// "samples" in the order of the items.
  nlohmann::ordered_json report() const;
  Json describe() const;

  int64_t n_done() const { return static_cast<int64_t>(samples_.size()); }
  int64_t n_items() const { return n_items_; }

 private:
  Evaluation() = default;

  void take_over_samples();
  void check_taken_over(const Sample& sample) const;
  /// Given prompts under a length that follows are read as transformers does: longest_input.h.
  bool answers_as_one_object() const;
  bool has_room(const SequenceBatch& batch, const PreparedItem& next) const;
  void keep(const Answer& answer);
  void store_unsaved();

  std::shared_ptr<const BoundTask> task_;
  std::shared_ptr<const Model> model_;
  EvaluationOptions options_;
  int64_t n_items_ = 0;
  int64_t n_prompt_tokens_ = 0;           ///< admitted by run()
  int64_t n_shared_tokens_ = 0;           ///< of these, read once for several items
  std::optional<uint64_t> cache_budget_;  ///< bytes, on a device with memory of its own
  Run run_;
  int64_t run_id_ = 0;  ///< in the results, if there are any

  std::map<int64_t, Sample> samples_;            ///< finished ones, by item
  std::set<int64_t> unsaved_;                    ///< of these, those that the results lack
  std::map<int64_t, std::string> table_hashes_;  ///< by declared length
};

}  // namespace okapi
