#include "runtime/evaluation/evaluation.h"

#include <algorithm>
#include <deque>
#include <future>
#include <optional>
#include <utility>

#include "runtime/base/cancel.h"
#include "runtime/base/error.h"
#include "runtime/evaluation/longest_input.h"
#include "runtime/evaluation/run_identity.h"
#include "runtime/evaluation/sequence_batch.h"
#include "runtime/model/adapter_weights.h"
#include "runtime/model/model.h"
#include "runtime/model/rotary/rope.h"
#include "runtime/results/aggregate.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

namespace {

// With no batch size given: decoding reads all weights once per step, and past sixteen sequences
// that cost is spread thin enough; their caches should not fill the machine.
constexpr size_t kUsualBatch = 16;
constexpr uint64_t kUsualCacheBytes = uint64_t{1} << 30;

// A device's own memory is there to be filled, but for what passes over the model need besides.
constexpr size_t kUsualDeviceBatch = 32;
constexpr uint64_t kReservedShare = 8;  // one part in so many

// Prompts that are made while a device computes, a thread each: one of 16 thousand tokens takes a
// tenth of a second.
constexpr size_t kMadeAhead = 4;

Error bad_option(const char* field, const std::string& message) {
  return Error(Code::invalid_argument, std::string(field) + ": " + message)
      .in("evaluation")
      .field(field);
}

int64_t planned_items(int64_t n_of_task, int64_t max_samples) {
  if (max_samples < 0) throw bad_option("max_samples", "must not be negative");
  if (n_of_task < 0 && max_samples == 0) {
    throw bad_option("max_samples", "the task has no end: say how many items to take");
  }
  if (n_of_task < 0) return max_samples;
  return max_samples == 0 ? n_of_task : std::min(n_of_task, max_samples);
}

void check_tokenizers(const BoundTask& task, const Model& model) {
  const std::shared_ptr<const Tokenizer> tokenizer = model.tokenizer();
  if (tokenizer != nullptr && tokenizer->sha256() == task.tokenizer()->sha256()) return;
  throw Error(Code::failed_precondition,
              tokenizer == nullptr ? std::string("the model has no tokenizer to answer a task with")
                                   : "the task counts with " + task.tokenizer()->path() +
                                         ", the model has " + tokenizer->path())
      .in("evaluation")
      .field("tokenizer");
}

}  // namespace

std::shared_ptr<Evaluation> Evaluation::create(std::shared_ptr<const BoundTask> task,
                                               std::shared_ptr<const Model> model,
                                               const EvaluationOptions& options) {
  if (options.batch_size < 0) throw bad_option("batch_size", "must not be negative");
  if (options.rope_length < kRopeLengthFollow) {
    throw bad_option("rope_length", "must be a number of tokens, 0 or follow (-1)");
  }
  if (options.adapter && options.adapter->model() != model) {
    throw bad_option("adapter", "was attached to another model");
  }
  check_tokenizers(*task, *model);

  std::shared_ptr<Evaluation> evaluation(new Evaluation);
  evaluation->task_ = std::move(task);
  evaluation->model_ = std::move(model);
  evaluation->options_ = options;
  if (evaluation->options_.rope == nullptr) evaluation->options_.rope = evaluation->model_->rope();
  evaluation->n_items_ = planned_items(evaluation->task_->count(), options.max_samples);

  Run& run = evaluation->run_;
  run.identity = run_identity(*evaluation->task_, *evaluation->model_, *evaluation->options_.rope,
                              options.rope_length, options.adapter.get(), options.deterministic);
  run.info = {{"model", evaluation->model_->describe()},
              {"runtime", evaluation->model_->context()->describe()}};
  if (options.adapter) run.info["adapter"] = options.adapter->describe();
  run.metrics = evaluation->task_->metrics();
  run.group_by = evaluation->task_->group_by();
  run.n_items = evaluation->task_->count();
  if (options.results != nullptr) evaluation->take_over_samples();
  return evaluation;
}

Evaluation::~Evaluation() = default;

void Evaluation::take_over_samples() {
  Results& results = *options_.results;
  if (results.is_read_only()) {
    throw Error(Code::failed_precondition,
                "results: are opened read-only, an evaluation writes to them")
        .in("evaluation")
        .field("results");
  }
  run_id_ = results.begin_run(run_);
  for (auto& [item, sample] : results.samples(run_id_)) {
    if (item >= n_items_) continue;
    check_taken_over(sample);
    samples_.emplace(item, std::move(sample));
  }
}

void Evaluation::check_taken_over(const Sample& sample) const {
  // Without records the run's identity decides its prompts; a file may have changed under its name.
  if (!task_->has_records()) return;
  const PreparedItem prepared = task_->item(sample.item);
  if (hash_of_prompt(prepared.prompt, prepared.ids) == sample.prompt_sha256) return;
  throw Error(
      Code::failed_precondition,
      "item " + std::to_string(sample.item) +
          ": the records are no longer those of the stored samples; use another results file")
      .in("evaluation")
      .field("results")
      .at(options_.results->path().string());
}

void Evaluation::run(const RunOptions& options) {
  store_unsaved();
  const auto report_progress = [&] {
    if (options.progress) options.progress(n_done(), n_items_);
  };
  report_progress();

  SessionOptions how;
  how.rope = options_.rope;
  how.rope_length = options_.rope_length;
  how.adapter = options_.adapter;
  how.deterministic = options_.deterministic;
  const std::optional<DeviceMemory> device = model_->context()->backend()->device_memory();
  if (device) cache_budget_ = device->free - device->free / kReservedShare;
  SequenceBatch batch(model_, how, options.cancel);
  const int64_t n_prompt_tokens_before = n_prompt_tokens_;
  const int64_t n_shared_tokens_before = n_shared_tokens_;
  // Where a device computes, the next prompts are made meanwhile. They are waited for, so that who
  // is in a batch together, and with it how sums round, does not depend on time.
  const bool has_device = device.has_value();
  std::deque<std::future<PreparedItem>> coming;
  std::optional<PreparedItem> next;  // made, but without room in the batch so far
  std::optional<LongestInput> longest;
  if (answers_as_one_object()) longest.emplace(model_->config().trained_length);
  int64_t index = 0;
  const auto order = [&] {
    while (coming.size() < (has_device ? kMadeAhead : 1)) {
      while (!longest && index < n_items_ && samples_.contains(index)) ++index;
      if (index == n_items_) return;
      coming.push_back(std::async(has_device ? std::launch::async : std::launch::deferred,
                                  [this, i = index++] { return task_->item(i); }));
    }
  };
  for (;;) {
    if (options.cancel) options.cancel->check();
    order();
    if (!next && !coming.empty()) {
      next = coming.front().get();
      coming.pop_front();
      if (longest) next->least_rope_length = longest->before(*next);
      if (samples_.contains(next->index)) {  // done before; the next ones had to know its length
        next.reset();
        continue;
      }
    }
    if (next && has_room(batch, *next)) {
      batch.admit(std::move(*next));
      next.reset();
      continue;  // the batch is filled before it advances
    }
    if (batch.is_empty()) break;

    // All are in this object before the first is stored: if that fails, none is lost.
    const std::vector<Answer> answers = batch.step();
    n_prompt_tokens_ = n_prompt_tokens_before + batch.n_prompt_tokens();
    n_shared_tokens_ = n_shared_tokens_before + batch.n_shared_tokens();
    for (const Answer& answer : answers) keep(answer);
    if (answers.empty()) continue;
    store_unsaved();
    report_progress();
  }
}

bool Evaluation::answers_as_one_object() const {
  return options_.rope_length == kRopeLengthFollow && task_->has_given_prompts() &&
         options_.rope->depends_on_length();
}

bool Evaluation::has_room(const SequenceBatch& batch, const PreparedItem& next) const {
  if (batch.is_empty()) return true;
  const uint64_t cache_bytes = static_cast<uint64_t>(batch.n_tokens() + next.n_tokens_in_all()) *
                               model_->kv_bytes_per_token();
  if (cache_budget_ && cache_bytes > *cache_budget_) return false;
  if (options_.batch_size > 0) return batch.size() < static_cast<size_t>(options_.batch_size);
  if (cache_budget_) return batch.size() < kUsualDeviceBatch;
  return batch.size() < kUsualBatch && cache_bytes <= kUsualCacheBytes;
}

void Evaluation::keep(const Answer& answer) {
  const PreparedItem& prepared = answer.prepared;
  const TaskScore score = task_->score(prepared.item, answer.output);

  Sample sample;
  sample.item = prepared.index;
  sample.key = prepared.item.key;
  sample.prompt = prepared.prompt;
  sample.prompt_ids = prepared.ids;
  sample.prompt_sha256 = hash_of_prompt(sample.prompt, sample.prompt_ids);
  for (const RecordField& field : prepared.item.attributes)
    sample.attributes[field.name] = field.json();
  sample.declared_length = answer.declared_length;
  if (answer.declared_length > 0) {
    std::string& hash = table_hashes_[answer.declared_length];
    if (hash.empty()) hash = table_sha256(*model_, *options_.rope, answer.declared_length);
    sample.table_sha256 = hash;
  }
  sample.output_ids = answer.output.ids;
  sample.output = valid_utf8(answer.output.text);
  sample.stop_reason = answer.stop_reason;
  sample.parsed = score.parsed;
  for (const TaskScore::Value& value : score.values) {
    sample.values.push_back({value.name, value.value, value.weight});
  }
  sample.seconds = answer.seconds;

  samples_.emplace(prepared.index, std::move(sample));
  if (options_.results != nullptr) unsaved_.insert(prepared.index);
}

void Evaluation::store_unsaved() {
  while (!unsaved_.empty()) {
    options_.results->add_sample(run_id_, samples_.at(*unsaved_.begin()));
    unsaved_.erase(unsaved_.begin());
  }
}

nlohmann::ordered_json Evaluation::report() const {
  std::vector<const Sample*> all;
  auto rows = nlohmann::ordered_json::array();
  for (const auto& [item, sample] : samples_) {
    all.push_back(&sample);
    rows.push_back(sample_json(sample, run_.metrics));
  }
  nlohmann::ordered_json report;
  report["metrics"] = aggregate_metrics(run_.metrics, all);
  report["groups"] = aggregate_groups(run_.metrics, run_.group_by, all);
  report["n_done"] = n_done();
  report["n_items"] = n_items_;
  report["prefill"] = {{"n_prompt_tokens", n_prompt_tokens_},
                       {"n_shared_tokens", n_shared_tokens_}};
  report["run"] = {{"sha256", run_.sha256()}, {"identity", run_.identity}, {"info", run_.info}};
  report["samples"] = std::move(rows);
  return report;
}

Json Evaluation::describe() const {
  return {
      {"task", task_->describe()},
      {"model", model_->describe()},
      {"adapter", options_.adapter ? options_.adapter->describe() : Json()},
      {"rope", options_.rope->canonical()},
      {"rope_length", rope_length_json(options_.rope_length)},
      {"batch_size", options_.batch_size},
      {"deterministic", options_.deterministic},
      {"results", options_.results != nullptr ? Json(options_.results->path().string()) : Json()},
      {"n_items", n_items_}};
}

}  // namespace okapi
