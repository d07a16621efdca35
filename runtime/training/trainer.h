// A model (or an adapter beside it), data, an optimizer and schedules: steps, evaluates, saves and
// goes on where it stopped.
//
//   auto trainer = Trainer::create(context, TrainerConfig::from_json(json), {.train = windows});
//   trainer->run();                                   // or: while (...) trainer->step();
//
// A step is all or nothing: one that throws, cancelled ones included, changes neither weights nor
// the place in the data. On one machine at one thread limit the same configuration gives the same
// bytes, whether a run was interrupted or not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "runtime/base/cancel.h"
#include "runtime/base/json.h"
#include "runtime/data/window_source.h"
#include "runtime/results/training_records.h"
#include "runtime/runtime_context.h"
#include "runtime/training/trainer_config.h"

namespace okapi {

class TrainerState;
class Tokenizer;

struct TrainerData {
  std::shared_ptr<const WindowSource> train;
  std::shared_ptr<const WindowSource> evaluation;  ///< null: none
};

/// What a trainer tells while it works, on the thread that called it. Each may be empty.
struct TrainerListener {
  std::function<void(const TrainingStep&)> on_step;
  std::function<void(const TrainingEvaluation&)> on_evaluation;
  std::function<void(const std::filesystem::path&)> on_checkpoint;  ///< was written
};

/// Memory in bytes by what it is for.
struct TrainerMemory {
  uint64_t frozen_weights = 0;
  uint64_t masters = 0;
  uint64_t prepared_weights = 0;  ///< what a backend keeps besides the masters
  uint64_t gradients = 0;
  uint64_t moments = 0;
  uint64_t activations = 0;
  uint64_t rotation = 0;
  std::optional<uint64_t> device_peak;  ///< most that the backend has taken, of its own memory

  uint64_t total() const {
    return frozen_weights + masters + prepared_weights + gradients + moments + activations +
           rotation;
  }
  Json json() const;
};

/// Not for two threads at once; set_cancel's token may be requested from any.
class Trainer {
 public:
  /// Reads the model, makes or loads the adapter, allocates everything. With `resume` it goes on
  /// from the newest whole checkpoint of the configured folder, where there is one: damaged ones
  /// are passed over with a warning in the log. Throws invalid_argument on a configuration that
  /// does not fit model or data; already_exists when the folder holds checkpoints and `resume` is
  /// not asked for; failed_precondition, naming the key, when a checkpoint belongs to another
  /// configuration, model or data; not_found when a scheme's plugin is missing; unimplemented when
  /// the backend does not train.
  static std::shared_ptr<Trainer> create(std::shared_ptr<RuntimeContext> context,
                                         TrainerConfig config, TrainerData data,
                                         bool resume = false);
  ~Trainer();

  /// One optimizer step. Throws out_of_range when all steps are done; aborted, naming the step, the
  /// windows and the last checkpoint, when the loss or the gradient is not finite or the loss
  /// diverges; cancelled.
  TrainingStep step();

  /// Loss on the held-out windows under the evaluation rope, by position. Throws
  /// failed_precondition when there are none.
  TrainingEvaluation evaluate();

  /// Writes a checkpoint of the present step and removes those that are not to be kept. Throws
  /// failed_precondition when no folder was configured.
  std::filesystem::path save();

  /// Steps until `until` steps are done in all (-1: all of them), evaluating and saving as
  /// configured. Saves at the end, and before it throws cancelled, by set_cancel's token or by
  /// `cancel`.
  void run(int64_t until = -1, const CancelToken* cancel = nullptr);

  /// Writes what was trained, without what it takes to go on: the model as a Hugging Face folder,
  /// or the adapter as a peft folder; both, where tensors of the model were trained beside an
  /// adapter (the model then without the adapter in it). `merged`: the model with the adapter in
  /// it. The model's config.json has the evaluation rope. Throws invalid_argument when the folder
  /// is the base model's or the one that the adapter started from, or when there is no adapter to
  /// be merged; cancelled, between two tensors.
  void export_to(const std::filesystem::path& folder, bool merged = false);

  /// Makes the folder and throws what an export to it would, the disk's room apart: hours of
  /// training should not end there.
  void check_export(const std::filesystem::path& folder, bool merged = false) const;

  void set_listener(TrainerListener listener);
  /// Of every call but save; null takes it away.
  void set_cancel(std::shared_ptr<const CancelToken> cancel);

  int64_t steps_done() const;
  int64_t n_steps() const;         ///< in all
  int64_t data_position() const;   ///< windows consumed
  double learning_rate() const;    ///< of the next step
  std::string train_rope() const;  ///< canonical, of the next step
  std::string eval_rope() const;
  std::string last_checkpoint() const;  ///< "": none
  const TrainerConfig& config() const;
  TrainerMemory memory() const;  ///< allocated now
  Json describe() const;

  /// For tests and tools: the gradients of the next step's loss, or the values, by tensor name, as
  /// f32 in the checkpoint's layout.
  struct NamedValues {
    std::string name;
    std::vector<int64_t> shape;
    std::vector<float> values;
  };
  std::vector<NamedValues> gradients(double* loss = nullptr);
  std::vector<NamedValues> values() const;
  /// Replaces values by name; those of other tensors stay. Throws invalid_argument on a name or a
  /// shape that is not trained.
  void set_values(const std::vector<NamedValues>& values);

 private:
  explicit Trainer(std::unique_ptr<TrainerState> state);

  std::unique_ptr<TrainerState> state_;
};

}  // namespace okapi
