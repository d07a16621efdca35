// How a run is saved and found again.
#include <algorithm>
#include <set>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/model/companion_files.h"
#include "runtime/model/rotary/rope.h"
#include "runtime/results/results.h"
#include "runtime/training/trainer_state.h"

namespace okapi {

namespace {

void add_plugins(const Rope& rope, Json& plugins) {
  const Json json = rope.json();  // named: a loop does not keep it alive for its members
  for (const Json& scheme : json["schemes"]) {
    const Json plugin = {{"id", scheme["id"]}, {"version", scheme["version"]}};
    if (std::find(plugins.begin(), plugins.end(), plugin) == plugins.end()) {
      plugins.push_back(plugin);
    }
  }
}

/// The path of the first key at which two trees differ: "optimizer.beta1".
std::string first_difference(const Json& a, const Json& b) {
  if (!a.is_object() || !b.is_object()) return "";
  std::set<std::string> keys;
  for (const Json* tree : {&a, &b}) {
    for (const auto& item : tree->items()) keys.insert(item.key());
  }
  for (const std::string& key : keys) {
    const Json in_a = a.value(key, Json());
    const Json in_b = b.value(key, Json());
    if (in_a == in_b) continue;
    const std::string inner = first_difference(in_a, in_b);
    return inner.empty() ? key : key + "." + inner;
  }
  return "";
}

Json at_path(const Json& tree, const std::string& path) {
  const size_t dot = path.find('.');
  const Json value = tree.value(path.substr(0, dot), Json());
  return dot == std::string::npos ? value : at_path(value, path.substr(dot + 1));
}

}  // namespace

TrainingState TrainerState::saved_state() const {
  TrainingState state;
  state.step = step;
  state.position = position;
  state.n_tokens = n_tokens;
  state.n_learned = n_learned;
  state.divergence = divergence.state();
  state.best_step = best_step;
  state.best_loss = best_loss;
  state.identity = config.identity();
  state.model_sha256 = base.sha256;
  state.data = data.train->describe();
  state.config = config.json();
  const std::shared_ptr<const Rope> train = rope_of(train_spec_at(std::min(step, n_steps - 1)));
  const std::shared_ptr<const Rope> eval = eval_rope();
  state.train_rope = train->canonical();
  state.eval_rope = eval->canonical();
  state.rope_plugins = Json::array();
  add_plugins(*train, state.rope_plugins);
  add_plugins(*eval, state.rope_plugins);
  return state;
}

std::filesystem::path TrainerState::save() {
  if (!folder) {
    throw Error(Code::failed_precondition, "checkpoint.folder: there is no folder to save to")
        .in("training")
        .field("checkpoint.folder");
  }
  if (last_evaluation && (best_step < 0 || *last_evaluation < best_loss)) {
    best_step = step;
    best_loss = *last_evaluation;
  }
  // First: a run that goes on from this checkpoint says what came after it anew, not what came
  // before.
  flush_results();
  last_checkpoint = folder->write(step, [&](const std::filesystem::path& to) {
    export_to(to, /*merged=*/false);
    const bool with_masters = config.checkpoint.dtype != DType::f32;
    write_optimizer(to, *parameters, with_masters, *stream);
    write_state(to, saved_state());
  });

  if (config.checkpoint.keep > 0) {
    std::vector<int64_t> steps = folder->steps();
    const auto n_old = static_cast<int64_t>(steps.size()) - config.checkpoint.keep;
    for (int64_t i = 0; i < n_old; ++i) {
      const int64_t old = steps[static_cast<size_t>(i)];
      const bool is_best = config.checkpoint.keep_best && old == best_step;
      if (!is_best && old != step) folder->remove(old);
    }
  }
  if (listener.on_checkpoint) listener.on_checkpoint(last_checkpoint);
  return last_checkpoint;
}

void TrainerState::export_to(const std::filesystem::path& to, bool merged) {
  make_output_folder(to, "folder", {base.folder, config.lora ? config.lora->from : ""});
  const bool has_adapter = parameters->has_adapter();
  const bool writes_model = parameters->trains_base() || merged || !has_adapter;
  if (has_adapter && !merged) {
    parameters->adapter(*stream).save(to, std::filesystem::absolute(base.folder).string());
  }
  if (!writes_model) return;
  const std::optional<Adapter> adapter =
      has_adapter && merged ? std::optional(parameters->adapter(*stream)) : std::nullopt;
  write_model_folder(to, *parameters, base.source, adapter ? &*adapter : nullptr, base.config_json,
                     *eval_rope(), base.folder, config.checkpoint.dtype, *stream);
}

void TrainerState::check_belongs(const TrainingState& state,
                                 const std::filesystem::path& path) const {
  const auto refuse = [&](const std::string& field, const std::string& wanted,
                          const std::string& found) {
    throw Error(Code::failed_precondition,
                field + ": the checkpoint was made with " + found + ", this run has " + wanted)
        .in("training")
        .field(field)
        .at(path.string());
  };
  const Json mine = config.identity();
  const std::string key = first_difference(mine, state.identity);
  if (!key.empty()) {
    refuse(key, describe_json(at_path(mine, key)), describe_json(at_path(state.identity, key)));
  }
  if (state.model_sha256 != base.sha256) {
    refuse("model", "a model of SHA-256 " + base.sha256, "one of " + state.model_sha256);
  }
  const Json described = data.train->describe();
  const std::string difference = first_difference(described, state.data);
  if (state.data != described) {
    const std::string field = difference.empty() ? "data" : "data." + difference;
    refuse(field, describe_json(difference.empty() ? described : at_path(described, difference)),
           describe_json(difference.empty() ? state.data : at_path(state.data, difference)));
  }
  const Json plugins = saved_state().rope_plugins;
  for (const Json& then : state.rope_plugins) {
    for (const Json& now : plugins) {
      if (now["id"] != then["id"] || now["version"] == then["version"]) continue;
      refuse("rope",
             "version " + now["version"].get<std::string>() + " of " + now["id"].get<std::string>(),
             "version " + then["version"].get<std::string>());
    }
  }
}

bool TrainerState::resume() {
  std::vector<int64_t> steps = folder->steps();
  std::reverse(steps.begin(), steps.end());
  std::optional<Error> first_problem;
  for (const int64_t candidate : steps) {
    const std::filesystem::path path = folder->at(candidate);
    try {
      const TrainingState state = read_state(path);
      check_belongs(state, path);
      read_parameters(path, *parameters, *stream);
      step = state.step;
      position = state.position;
      n_tokens = state.n_tokens;
      n_learned = state.n_learned;
      divergence.restore(state.divergence, {"training", path.string(), "divergence"});
      best_step = state.best_step;
      best_loss = state.best_loss;
      last_checkpoint = path;
      return true;
    } catch (const Error& error) {
      if (error.code() != Code::data_loss) throw;
      context->logger().log(LogLevel::warn, "training",
                            "a damaged checkpoint is passed over: " + error.full_message(),
                            {{"checkpoint", path.string()}});
      if (!first_problem) first_problem = error;
    }
  }
  if (first_problem) {
    throw Error(Code::data_loss,
                "none of the " + std::to_string(steps.size()) + " checkpoints is whole")
        .in("training")
        .field("checkpoint.folder")
        .at(folder->path().string())
        .because(*first_problem);
  }
  return false;
}

}  // namespace okapi
