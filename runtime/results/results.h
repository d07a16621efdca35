// Every sample ever evaluated, in one SQLite file that anything can open. The one user of SQLite.
//
//   auto results = Results::open("rope_retrieval.db");
//   const int64_t run = results->begin_run(description);
//   results->add_sample(run, sample);  // on disk when it returns
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/results/export.h"
#include "runtime/results/records.h"
#include "runtime/results/training_records.h"

namespace okapi {

class Database;

struct ResultsOptions {
  bool read_only = false;        ///< the file must exist and is not written
  int lock_timeout_ms = 10'000;  ///< how long a call waits while another process writes
};

/// Callable from any thread. Several processes may use one file: they wait for one another, at most
/// `lock_timeout_ms`, then throw unavailable.
class Results {
 public:
  /// Makes the file and its folder if they are not there. Throws data_loss when it is not a results
  /// file of a version we know, permission_denied or not_found when it cannot be made or read,
  /// unavailable when another process holds it.
  static std::shared_ptr<Results> open(const std::filesystem::path& path,
                                       const ResultsOptions& options = {});
  ~Results();

  /// The id of the run with this identity, which is made if it is new.
  int64_t begin_run(const Run& run);

  /// What is there of a run, by item.
  std::map<int64_t, Sample> samples(int64_t run_id) const;

  /// In a transaction of its own, flushed to the disk. An item that is there already stays as it
  /// is.
  void add_sample(int64_t run_id, const Sample& sample);

  /// The id of the training run with this identity, which is made if it is new.
  int64_t begin_training(const TrainingRun& run);

  /// In one transaction. What is there of the same step is replaced.
  void add_training(int64_t run_id, std::span<const TrainingStep> steps,
                    std::span<const TrainingEvaluation> evaluations);

  /// Forgets what comes after `step`: a run that goes on from there will say it anew.
  void forget_training_after(int64_t run_id, int64_t step);

  /// An array: each training run with identity, info, steps and evaluations, in order.
  Json training() const;

  /// An array: each run with identity, info, n_done, n_items, metrics and groups.
  Json summary() const;

  /// One row per sample (RFC 4180). Runs that differ in attributes or metrics leave cells empty.
  void export_csv(const std::filesystem::path& path) const;
  /// An array of runs as in summary(), each with its samples, prompts included.
  void export_json(const std::filesystem::path& path) const;

  Json describe() const;
  const std::filesystem::path& path() const { return path_; }
  bool is_read_only() const { return options_.read_only; }

 private:
  Results(std::filesystem::path path, const ResultsOptions& options);

  std::vector<StoredRun> runs() const;
  std::map<int64_t, Sample> load_samples(int64_t run_id) const;
  int64_t prompt_id(const Sample& sample);
  void export_to(const std::filesystem::path& path, const RunExporter& write) const;

  std::filesystem::path path_;
  ResultsOptions options_;
  mutable std::mutex mutex_;
  std::unique_ptr<Database> database_;
};

}  // namespace okapi
