#include "runtime/training/trainer_state.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/number_text.h"
#include "runtime/plugin_host/plugin_host.h"
#include "runtime/results/results.h"
#include "runtime/training/available_memory.h"
#include "runtime/training/learning_rate.h"
#include "runtime/training/rope_schedule.h"
#include "runtime/training/seeds.h"

namespace okapi {

namespace {

int64_t steps_of(const TrainerConfig& config, const WindowSource& source) {
  if (config.steps > 0) return config.steps;
  const int64_t count = source.count();
  if (count < 0) throw bad_config("epochs", "the data never end; say `steps` instead");
  if (config.batch.sequences == 0) {
    throw bad_config("epochs",
                     "needs batch.sequences, as batch.tokens varies the windows of a step");
  }
  const double windows = config.epochs * static_cast<double>(count);
  return std::max<int64_t>(
      1, std::llround(std::ceil(windows / static_cast<double>(config.batch.sequences))));
}

std::string windows_text(const StepBatch& batch) {
  constexpr size_t kMost = 8;
  std::string text;
  for (size_t i = 0; i < std::min(kMost, batch.identities.size()); ++i) {
    text += (i > 0 ? ", " : "") + batch.identities[i];
  }
  if (batch.identities.size() > kMost) {
    text += " and " + std::to_string(batch.identities.size() - kMost) + " more";
  }
  return text;
}

}  // namespace

TrainerState::TrainerState(std::shared_ptr<RuntimeContext> runtime, TrainerConfig trainer_config,
                           TrainerData windows)
    : context(std::move(runtime)),
      config(std::move(trainer_config)),
      data(std::move(windows)),
      divergence(config.divergence) {
  const std::shared_ptr<Backend>& backend = context->backend();
  if (backend->training() == nullptr) {
    throw Error(Code::unimplemented, "the backend " + backend->name() + " does not train")
        .in("training");
  }
  if (!data.train) throw bad_config("data", "there is nothing to train on");
  n_steps = steps_of(config, *data.train);
  check_evaluations();
  length = config.batch.length > 0 ? config.batch.length : data.train->max_tokens();

  base = open_base(config, context->n_threads());
  tell_of_dropout(context->logger(), base);
  check_ropes();
  activations = compute_dtype(config, *backend);
  config.compute_dtype = activations;  // as checkpoints and results name it
  stream = backend->training()->create_training_stream({.deterministic = config.deterministic});
  const std::optional<Adapter> adapter = open_adapter(config, base.config);
  ParameterOptions options;
  options.trained = config.trained;
  options.activations = activations;
  options.base_dtype = config.base_dtype;
  // What the file holds wider is not rounded: it is evaluated, and exported, as it is there.
  if (!options.base_dtype && base.checkpoint && activations != DType::bf16) {
    options.base_dtype = base.checkpoint->has_bf16_matrices() ? DType::bf16 : DType::f32;
  }
  options.pair_layout = config.pair_layout;
  options.adapter = adapter ? &*adapter : nullptr;
  parameters = std::make_unique<Parameters>(backend, base.config, base.source, options, *stream);
  memory_beside_parameters = available_memory(*backend);
  optimizer = std::make_unique<Optimizer>(config.optimizer, config.groups, *parameters);
  network = std::make_unique<TransformerTraining>(backend, base.config, parameters->network(),
                                                  activations, *stream);
  train_rotation = std::make_unique<TrainingRotation>(backend, base.config.n_layers);
  eval_rotation = std::make_unique<TrainingRotation>(backend, base.config.n_layers);
}

TrainerState::~TrainerState() {
  // The stream may still be reading buffers that are about to go.
  try {
    if (stream) stream->synchronize();
  } catch (...) {  // nobody is left to be told
  }
}

RopeGeometry TrainerState::geometry(bool training) const {
  RopeGeometry geometry;
  geometry.head_dim = base.config.head_dim;
  geometry.rotary_dim = base.config.head_dim;
  geometry.n_layers = base.config.n_layers;
  geometry.base = base.config.rope_base;
  geometry.trained_length = base.config.trained_length;
  geometry.target_length = config.rope.length > 0 ? config.rope.length : length;
  geometry.training = training;
  return geometry;
}

/// Ropes are read against the model, as sessions read them; lengths are a geometry's business.
std::shared_ptr<const Rope> TrainerState::rope_of(const std::string& spec) const {
  RopeGeometry model = geometry(/*training=*/false);
  model.target_length = model.trained_length;
  return Rope::parse(spec.empty() ? base.config.rope_spec : spec, context->plugin_host(), model);
}

std::string TrainerState::train_spec_at(int64_t at_step) const {
  const std::string& spec = config.rope.train.empty() ? base.config.rope_spec : config.rope.train;
  return rope_at_step(spec, config.rope.schedule, at_step);
}

/// Everything that a schedule will ask for is read once before anything is trained.
void TrainerState::check_ropes() {
  std::vector<int64_t> steps = {0, n_steps - 1};
  for (const RopeScheduleConfig& schedule : config.rope.schedule) {
    for (const auto& [first, value] : schedule.at) {
      if (first < n_steps) steps.push_back(first);
    }
  }
  for (const int64_t at_step : steps) static_cast<void>(rope_of(train_spec_at(at_step)));
  if (!config.rope.eval.empty()) static_cast<void>(rope_of(config.rope.eval));
}

void TrainerState::use_train_rope(int64_t at_step) {
  const std::string spec = train_spec_at(at_step);
  if (!train_rope || spec != train_spec) {
    train_rope = rope_of(spec);
    train_spec = spec;
  }
  RopeGeometry at = geometry(/*training=*/true);
  at.seed = derived_seed(config.seed, Purpose::rope, at_step);
  train_rotation->use(train_rope, at);
}

std::shared_ptr<const Rope> TrainerState::next_train_rope() const {
  return rope_of(train_spec_at(std::min(step, n_steps - 1)));
}

std::shared_ptr<const Rope> TrainerState::eval_rope() const {
  return config.rope.eval.empty() ? next_train_rope() : rope_of(config.rope.eval);
}

std::span<const CancelToken* const> TrainerState::cancels() const {
  cancels_.clear();
  if (cancel) cancels_.push_back(cancel.get());
  if (run_cancel != nullptr) cancels_.push_back(run_cancel);
  return cancels_;
}

double TrainerState::learning_rate() const {
  return config.optimizer.learning_rate * learning_rate_factor(config.schedule, step, n_steps);
}

bool TrainerState::recomputes(const MicroBatch& micro) const {
  if (config.recompute) return *config.recompute;
  const BufferShape shape =
      network->buffer_shape(static_cast<int64_t>(micro.ids.size()), /*recompute=*/false);
  return outweighs(buffer_bytes(base.config, activations, shape), memory_beside_parameters);
}

StepBatch TrainerState::next_batch() const {
  return read_step(*data.train, position, config.batch, length, base.config.vocab_size);
}

StepBatch TrainerState::take_batch() {
  const bool is_there = ahead_.position == position;
  ahead_.position = -1;
  return is_there ? std::move(ahead_.batch) : next_batch();
}

void TrainerState::read_ahead(int64_t at) {
  try {
    ahead_.batch = read_step(*data.train, at, config.batch, length, base.config.vocab_size);
    ahead_.position = at;
  } catch (...) {  // its own step will read it again, and say so
    ahead_.position = -1;
  }
}

double TrainerState::add_gradients(const StepBatch& batch) {
  use_train_rope(step);
  parameters->zero_gradients(*stream);
  double loss = 0;
  for (size_t i = 0; i < batch.micro.size(); ++i) {
    const MicroBatch& micro = batch.micro[i];
    std::vector<TrainingRotation::Row> rows;
    for (size_t window = 0; window < micro.lengths.size(); ++window) {
      // By the window's number within the step: how a step is cut up changes no draw.
      const int64_t number = micro.first_window + static_cast<int64_t>(window);
      rows.push_back(
          {micro.lengths[window], derived_seed(config.seed, Purpose::positions, step, number)});
    }
    train_rotation->prepare(rows, *stream);

    TrainingBatch pass;
    pass.ids = micro.ids;
    pass.targets = micro.targets;
    pass.weights = micro.weights;
    pass.sequences_of_group = train_rotation->sequences_of_group();
    pass.group_of_layer = train_rotation->group_of_layer();
    pass.dropout_seed = derived_seed(config.seed, Purpose::dropout, step, static_cast<int64_t>(i));
    loss += network->add_gradients(pass, recomputes(micro), cancels());
  }
  return loss;
}

DivergenceGuard TrainerState::judged(const StepBatch& batch, double loss, double norm) const {
  const auto stop = [&](const std::string& what) {
    const std::string good = last_checkpoint.empty()
                                 ? "there is no checkpoint"
                                 : "the last good checkpoint is " + last_checkpoint.string();
    throw Error(Code::aborted, "step " + std::to_string(step + 1) + ": " + what +
                                   "; its windows: " + windows_text(batch) + "; " + good)
        .in("training")
        .field("loss");
  };
  if (!std::isfinite(loss)) stop("the loss is " + number_text(loss));
  if (!std::isfinite(norm)) stop("the gradient's norm is " + number_text(norm));
  DivergenceGuard guard = divergence;
  if (guard.diverges(loss)) {
    stop("the loss diverges: the mean of the last " + std::to_string(config.divergence.steps) +
         " steps is " + number_text(guard.mean()) + ", the lowest was " +
         number_text(guard.lowest()));
  }
  return guard;
}

TrainingStep TrainerState::run_step() {
  if (step >= n_steps) {
    throw Error(Code::out_of_range, "all " + std::to_string(n_steps) + " steps are done")
        .in("training")
        .field("steps");
  }
  const auto begin = std::chrono::steady_clock::now();
  const StepBatch batch = take_batch();
  const double loss = add_gradients(batch);
  const double norm = Optimizer::gradient_norm(*parameters, *stream);
  DivergenceGuard guard = judged(batch, loss, norm);

  TrainingStep result;
  result.step = step + 1;
  result.loss = loss;
  result.gradient_norm = norm;
  result.learning_rate = learning_rate();
  result.n_tokens = batch.n_tokens;
  result.n_learned = batch.n_learned;
  result.rope = train_rope->canonical();
  optimizer->apply(*parameters, result.learning_rate, norm, step + 1, *stream);
  if (step + 1 < n_steps) read_ahead(position + batch.n_windows);  // while a device is at work
  stream->synchronize();

  divergence = std::move(guard);
  ++step;
  position += batch.n_windows;
  n_tokens += batch.n_tokens;
  n_learned += batch.n_learned;
  last_evaluation.reset();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (results) unsaved_steps.push_back(result);
  if (listener.on_step) listener.on_step(result);
  return result;
}

TrainingRun TrainerState::run_record() const {
  TrainingRun run;
  run.identity = {{"config", config.identity()},
                  {"model_sha256", base.sha256},
                  {"data", data.train->describe()},
                  {"backend", context->backend()->name()},
                  {"rope_plugins", saved_state().rope_plugins}};
  run.info = {{"config", config.json()},
              {"n_steps", n_steps},
              {"device", context->backend()->device()},
              {"n_trained", parameters->n_trained()}};
  return run;
}

void TrainerState::open_results() {
  if (config.results.empty()) return;
  results = Results::open(config.results);
  run_id = results->begin_training(run_record());
  results->forget_training_after(run_id, step);
}

void TrainerState::flush_results() {
  if (!results || (unsaved_steps.empty() && unsaved_evaluations.empty())) return;
  results->add_training(run_id, unsaved_steps, unsaved_evaluations);
  unsaved_steps.clear();
  unsaved_evaluations.clear();
}

}  // namespace okapi
