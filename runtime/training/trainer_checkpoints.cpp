// How a run is saved and found again.
#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
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

/// Where two trees differ first, and what stands there.
struct Difference {
  std::string path;  ///< "optimizer.beta1", "parts[0].seed"; "": the trees themselves
  Json mine;
  Json theirs;
};

std::optional<Difference> first_difference(const Json& mine, const Json& theirs,
                                           const std::string& path = "") {
  if (mine == theirs) return std::nullopt;
  if (mine.is_object() && theirs.is_object()) {
    std::set<std::string> keys;
    for (const Json* tree : {&mine, &theirs}) {
      for (const auto& item : tree->items()) keys.insert(item.key());
    }
    const std::string prefix = path.empty() ? "" : path + ".";
    for (const std::string& key : keys) {
      if (auto found =
              first_difference(mine.value(key, Json()), theirs.value(key, Json()), prefix + key)) {
        return found;
      }
    }
  }
  if (mine.is_array() && theirs.is_array() && mine.size() == theirs.size()) {
    for (size_t i = 0; i < mine.size(); ++i) {
      const std::string at = path + "[" + std::to_string(i) + "]";
      if (auto found = first_difference(mine[i], theirs[i], at)) return found;
    }
  }
  return Difference{path, mine, theirs};
}

/// What decides the windows: a plugin is the same by id and version, wherever okapi was moved to
/// and whoever compiled it.
Json without_plugin_files(Json tree) {
  if (!tree.is_structured()) return tree;
  for (const auto& [key, value] : tree.items()) {
    value = without_plugin_files(std::move(value));
    if (key != "plugin" || !value.is_object()) continue;
    value.erase("file");
    value.erase("sha256");
  }
  return tree;
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
  const std::shared_ptr<const Rope> train = next_train_rope();
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
    export_to(to, /*merged=*/false, {});  // a cancelled run is saved
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

void TrainerState::open_export(const std::filesystem::path& to, bool merged) const {
  if (merged && !parameters->has_adapter()) {
    throw Error(Code::invalid_argument,
                "merged: there is no adapter to merge, as the run has no lora section")
        .in("training")
        .field("merged");
  }
  make_output_folder(to, "folder", {base.folder, config.lora ? config.lora->from : ""});
}

void TrainerState::check_export(const std::filesystem::path& to, bool merged) const {
  open_export(to, merged);
  const std::filesystem::path probe = to / ".okapi-export";
  write_file_atomically(probe, "");
  std::error_code ignored;
  std::filesystem::remove(probe, ignored);
}

void TrainerState::export_to(const std::filesystem::path& to, bool merged,
                             std::span<const CancelToken* const> cancelled_by) {
  for (const CancelToken* token : cancelled_by) token->check();
  open_export(to, merged);
  const bool has_adapter = parameters->has_adapter();
  const bool writes_model = parameters->trains_base() || merged || !has_adapter;
  if (has_adapter && !merged) {
    parameters->adapter(*stream).save(to, std::filesystem::absolute(base.folder).string());
  }
  if (!writes_model) return;
  const std::optional<Adapter> adapter =
      has_adapter && merged ? std::optional(parameters->adapter(*stream)) : std::nullopt;
  write_model_folder(to, *parameters, base.source, adapter ? &*adapter : nullptr, base.config_json,
                     *eval_rope(), base.folder, config.checkpoint.dtype, *stream, cancelled_by);
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
  if (const auto other = first_difference(config.identity(), state.identity)) {
    refuse(other->path, describe_json(other->mine), describe_json(other->theirs));
  }
  if (state.model_sha256 != base.sha256) {
    refuse("model", "a model of SHA-256 " + base.sha256, "one of " + state.model_sha256);
  }
  if (const auto other = first_difference({{"data", without_plugin_files(data.train->describe())}},
                                          {{"data", without_plugin_files(state.data)}})) {
    refuse(other->path, describe_json(other->mine), describe_json(other->theirs));
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
