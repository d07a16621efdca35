#include "runtime/training/trainer.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/model/rotary/rope.h"
#include "runtime/training/trainer_state.h"

namespace okapi {

namespace {

/// A curve is on the disk after so many steps at the latest.
constexpr size_t kMostUnsaved = 64;

/// Sets the cancel token of one run for as long as it lasts.
class RunCancel {
 public:
  RunCancel(TrainerState& state, const CancelToken* cancel) : state_(state) {
    state_.run_cancel = cancel;
  }
  RunCancel(const RunCancel&) = delete;
  RunCancel& operator=(const RunCancel&) = delete;
  ~RunCancel() { state_.run_cancel = nullptr; }

 private:
  TrainerState& state_;
};

}  // namespace

Trainer::Trainer(std::unique_ptr<TrainerState> state) : state_(std::move(state)) {}
Trainer::~Trainer() = default;

std::shared_ptr<Trainer> Trainer::create(std::shared_ptr<RuntimeContext> context,
                                         TrainerConfig config, TrainerData data, bool resume) {
  auto state =
      std::make_unique<TrainerState>(std::move(context), std::move(config), std::move(data));
  if (resume && state->config.checkpoint.folder.empty()) {
    throw bad_config("checkpoint.folder", "there is no folder to resume from");
  }
  if (!state->config.checkpoint.folder.empty()) {
    state->folder = std::make_unique<CheckpointFolder>(state->config.checkpoint.folder);
    if (resume) {
      state->resume();
    } else if (!state->folder->steps().empty()) {
      throw Error(Code::already_exists,
                  "checkpoint.folder: holds checkpoints; resume them or choose another folder")
          .in("training")
          .field("checkpoint.folder")
          .at(state->folder->path().string());
    }
  }
  state->open_results();
  return std::shared_ptr<Trainer>(new Trainer(std::move(state)));
}

TrainingStep Trainer::step() {
  TrainingStep result = state_->run_step();
  if (state_->unsaved_steps.size() >= kMostUnsaved) state_->flush_results();
  return result;
}

TrainingEvaluation Trainer::evaluate() {
  TrainingEvaluation result = state_->run_evaluation();
  state_->flush_results();
  return result;
}

std::filesystem::path Trainer::save() { return state_->save(); }

void Trainer::run(int64_t until, const CancelToken* cancel) {
  TrainerState& state = *state_;
  const RunCancel run_cancel(state, cancel);
  const int64_t end = until < 0 ? state.n_steps : std::min(until, state.n_steps);
  const TrainerConfig& config = state.config;
  const auto is_due = [&](int64_t every) { return every > 0 && state.step % every == 0; };
  const auto is_saved = [&] {
    return !state.last_checkpoint.empty() && state.last_checkpoint == state.folder->at(state.step);
  };
  try {
    while (state.step < end) {
      for (const CancelToken* token : state.cancels()) token->check();
      step();
      const bool is_last = state.step == end;
      if (is_due(config.evaluation.every) || (is_last && config.evaluation.every > 0)) evaluate();
      if (state.folder && (is_due(config.checkpoint.every) || is_last)) save();
    }
    state.flush_results();
  } catch (const Error& error) {
    if (error.code() == Code::cancelled && state.folder && !is_saved()) save();
    state.flush_results();
    throw;
  }
}

void Trainer::export_to(const std::filesystem::path& folder, bool merged) {
  state_->export_to(folder, merged, state_->cancels());
}

void Trainer::check_export(const std::filesystem::path& folder, bool merged) const {
  state_->check_export(folder, merged);
}

void Trainer::set_listener(TrainerListener listener) { state_->listener = std::move(listener); }

void Trainer::set_cancel(std::shared_ptr<const CancelToken> cancel) {
  state_->cancel = std::move(cancel);
}

int64_t Trainer::steps_done() const { return state_->step; }
int64_t Trainer::n_steps() const { return state_->n_steps; }
int64_t Trainer::data_position() const { return state_->position; }
double Trainer::learning_rate() const { return state_->learning_rate(); }

std::string Trainer::train_rope() const { return state_->next_train_rope()->canonical(); }
std::string Trainer::eval_rope() const { return state_->eval_rope()->canonical(); }
std::string Trainer::last_checkpoint() const { return state_->last_checkpoint.string(); }
const TrainerConfig& Trainer::config() const { return state_->config; }

TrainerMemory Trainer::memory() const {
  const ParameterBytes& bytes = state_->parameters->bytes();
  TrainerMemory memory;
  memory.frozen_weights = bytes.frozen;
  memory.masters = bytes.masters;
  memory.prepared_weights = bytes.prepared;
  memory.gradients = bytes.gradients;
  memory.moments = bytes.moments;
  memory.activations = state_->network->buffer_bytes();
  memory.rotation = state_->train_rotation->bytes() + state_->eval_rotation->bytes();
  if (const auto device = state_->context->backend()->device_memory()) {
    memory.device_peak = device->most_taken;
  }
  return memory;
}

Json TrainerMemory::json() const {
  Json parts = {{"frozen_weights", frozen_weights},
                {"masters", masters},
                {"prepared_weights", prepared_weights},
                {"gradients", gradients},
                {"moments", moments},
                {"activations", activations},
                {"rotation", rotation},
                {"total", total()}};
  if (device_peak) parts["device_peak"] = *device_peak;
  return parts;
}

Json Trainer::describe() const {
  const TrainerState& state = *state_;
  return {{"config", state.config.json()},
          {"steps_done", state.step},
          {"n_steps", state.n_steps},
          {"data_position", state.position},
          {"n_tokens", state.n_tokens},
          {"n_learned", state.n_learned},
          {"n_trained", state.parameters->n_trained()},
          {"train_rope", train_rope()},
          {"eval_rope", eval_rope()},
          {"learning_rate", learning_rate()},
          {"last_checkpoint", last_checkpoint()},
          {"best_step", state.best_step},
          {"model_sha256", state.base.sha256},
          {"data", state.data.train->describe()},
          {"memory", memory().json()},
          {"backend", state.context->describe()}};
}

namespace {

Trainer::NamedValues named(const Parameters& parameters, const Parameter& parameter,
                           TensorView values, TrainingStream& stream) {
  const HostTensor host = parameters.download(values, parameter.n_rotated_heads, stream);
  const auto* data = static_cast<const float*>(host.view().data);
  return {parameter.name, parameter.shape, std::vector<float>(data, data + parameter.count())};
}

}  // namespace

std::vector<Trainer::NamedValues> Trainer::gradients(double* loss) {
  const double found = state_->add_gradients(state_->next_batch());
  if (loss != nullptr) *loss = found;
  std::vector<NamedValues> result;
  for (const Parameter& parameter : state_->parameters->trained()) {
    result.push_back(named(*state_->parameters, parameter, parameter.gradient, *state_->stream));
  }
  return result;
}

std::vector<Trainer::NamedValues> Trainer::values() const {
  std::vector<NamedValues> result;
  for (const Parameter& parameter : state_->parameters->trained()) {
    result.push_back(named(*state_->parameters, parameter, parameter.value, *state_->stream));
  }
  return result;
}

void Trainer::set_values(const std::vector<NamedValues>& values) {
  Parameters& parameters = *state_->parameters;
  for (const NamedValues& given : values) {
    Parameter* parameter = parameters.find(given.name);
    if (parameter == nullptr || parameter->shape != given.shape ||
        static_cast<int64_t>(given.values.size()) != parameter->count()) {
      throw Error(Code::invalid_argument, given.name + ": no tensor of this shape is trained")
          .in("training")
          .field(given.name);
    }
    const ConstTensorView view =
        given.shape.size() == 1
            ? ConstTensorView(given.values.data(), DType::f32, {given.shape[0]})
            : ConstTensorView(given.values.data(), DType::f32, {given.shape[0], given.shape[1]});
    parameters.upload(*parameter, view, *state_->stream);
  }
  parameters.refresh(*state_->stream);
}

}  // namespace okapi
