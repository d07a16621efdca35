// What a trainer holds. Its parts (step, evaluate, save, resume) are functions over this.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/training.h"
#include "runtime/model/transformer_training.h"
#include "runtime/training/base_model.h"
#include "runtime/training/checkpoint_folder.h"
#include "runtime/training/divergence.h"
#include "runtime/training/optimizer.h"
#include "runtime/training/parameters.h"
#include "runtime/training/step_batch.h"
#include "runtime/training/trainer.h"
#include "runtime/training/training_files.h"
#include "runtime/training/training_rotation.h"

namespace okapi {

class Results;

class TrainerState {
 public:
  TrainerState(std::shared_ptr<RuntimeContext> context, TrainerConfig config, TrainerData data);
  ~TrainerState();

  std::shared_ptr<RuntimeContext> context;
  TrainerConfig config;
  TrainerData data;
  TrainerListener listener;
  std::shared_ptr<const CancelToken> cancel;
  const CancelToken* run_cancel = nullptr;  ///< of the run in progress

  BaseModel base;
  int64_t n_steps = 0;
  int64_t length = 0;  ///< most tokens of a window
  DType activations = DType::f32;
  std::unique_ptr<TrainingStream> stream;
  std::unique_ptr<Parameters> parameters;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<TransformerTraining> network;
  std::unique_ptr<TrainingRotation> train_rotation;
  std::unique_ptr<TrainingRotation> eval_rotation;
  uint64_t memory_beside_parameters = 0;  ///< that was there before the first step
  std::string train_spec;                 ///< the text that train_rope was read from
  std::shared_ptr<const Rope> train_rope;

  // Where the run stands.
  int64_t step = 0;
  int64_t position = 0;
  int64_t n_tokens = 0;
  int64_t n_learned = 0;
  DivergenceGuard divergence;
  std::optional<double> last_evaluation;  ///< loss at the present step
  int64_t best_step = -1;
  double best_loss = 0;

  std::unique_ptr<CheckpointFolder> folder;  ///< null: nothing is saved
  std::filesystem::path last_checkpoint;
  std::shared_ptr<Results> results;
  int64_t run_id = 0;
  std::vector<TrainingStep> unsaved_steps;  ///< not in the results yet
  std::vector<TrainingEvaluation> unsaved_evaluations;

  // Steps.
  bool recomputes(const MicroBatch& micro) const;
  RopeGeometry geometry(bool training) const;
  std::shared_ptr<const Rope> rope_of(const std::string& spec) const;
  std::string train_spec_at(int64_t at_step) const;
  void use_train_rope(int64_t at_step);                 ///< brings train_rope up to a step
  std::shared_ptr<const Rope> next_train_rope() const;  ///< the last one when all steps are done
  std::shared_ptr<const Rope> eval_rope() const;
  std::span<const CancelToken* const> cancels() const;
  double learning_rate() const;

  /// Adds the gradients of a step's loss, from zero; returns the mean loss.
  double add_gradients(const StepBatch& batch);
  StepBatch next_batch() const;
  StepBatch take_batch();       ///< the same, where it was read ahead
  void read_ahead(int64_t at);  ///< the windows from `at` on
  TrainingStep run_step();

  // Evaluation (trainer_evaluation.cpp).
  TrainingEvaluation run_evaluation();

  // Checkpoints (trainer_checkpoints.cpp).
  TrainingState saved_state() const;
  std::filesystem::path save();
  void export_to(const std::filesystem::path& to, bool merged,
                 std::span<const CancelToken* const> cancelled_by);
  void open_export(const std::filesystem::path& to, bool merged) const;
  void check_export(const std::filesystem::path& to, bool merged) const;
  bool resume();  ///< false: there is nothing to resume
  void check_belongs(const TrainingState& state, const std::filesystem::path& path) const;

  // Results.
  void open_results();
  void flush_results();
  TrainingRun run_record() const;

 private:
  void check_ropes();
  void check_evaluations() const;
  /// The guard as the step's loss leaves it. Throws aborted where the step is not to be taken.
  DivergenceGuard judged(const StepBatch& batch, double loss, double norm) const;

  mutable std::vector<const CancelToken*> cancels_;
  struct {
    int64_t position = -1;  ///< of its first window; -1: none
    StepBatch batch;
  } ahead_;
};

}  // namespace okapi
