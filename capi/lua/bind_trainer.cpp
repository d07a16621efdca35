// okapi.train{...}, okapi.trainer{...}, okapi.plan{...}: training, as runtime/training describes it
// in its configuration. A table holds that configuration and, beside it, the options of the call.
#include <algorithm>

#include "capi/lua/arguments.h"
#include "capi/lua/bindings.h"
#include "capi/lua/box.h"
#include "capi/lua/json_value.h"
#include "capi/lua/long_call.h"
#include "capi/lua/runtime.h"
#include "capi/lua/suggestion.h"

namespace okapi::lua {

using Names = std::vector<std::string>;

static const Names kOpenOptions = {"resume", "progress", "cancel", "runtime"};
static const Names kRunOptions = {"to_step",       "on_step",  "on_evaluation",
                                  "on_checkpoint", "progress", "cancel"};
static const Names kTrainOptions = {"resume",        "on_step",  "on_evaluation",
                                    "on_checkpoint", "progress", "cancel",
                                    "runtime",       "export",   "merged"};
static const Names kPlanOptions = {"runtime"};

static bool is_option(lua_State* L, int index, const Names& options) {
  if (lua_type(L, index) != LUA_TSTRING) return false;
  const char* key = lua_tostring(L, index);
  return std::find(options.begin(), options.end(), key) != options.end();
}

// Parts the table at 1: pushes one of the options alone, for Options, and returns the text of the
// rest, the configuration.
static std::string take_configuration(lua_State* L, const std::string& function,
                                      const Names& options) {
  if (lua_type(L, 1) != LUA_TTABLE) {
    throw api::invalid(function + ": wanted a table, found " + found_at(L, 1));
  }
  lua_settop(L, 1);
  need_stack(L, 4);
  lua_pushvalue(L, 1);
  protect(L, 1, 2, [&options](lua_State* inner) {  // 1 all, 2 options, 3 configuration
    lua_newtable(inner);
    lua_newtable(inner);
    for (lua_pushnil(inner); lua_next(inner, 1); lua_pop(inner, 1)) {
      lua_pushvalue(inner, -2);
      lua_pushvalue(inner, -2);
      lua_rawset(inner, is_option(inner, -2, options) ? 2 : 3);
    }
    return 2;
  });
  const int configuration = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, configuration); lua_pop(L, 1)) {
    // No key of a configuration is a function: this was to be an option.
    if (lua_type(L, -1) != LUA_TFUNCTION || lua_type(L, -2) != LUA_TSTRING) continue;
    const std::string key = text_at(L, -2, function);
    throw api::invalid(function + ": " + api::unknown_word_message("option", key, options), key);
  }
  const std::string text = json_text(parameters_at(L, configuration, function), function);
  lua_pop(L, 1);
  return text;
}

static Handle<okapi_trainer> open(lua_State* L, okapi_runtime* runtime, const std::string& config,
                                  const Options& given) {
  LongCall long_call(L, given.function("progress"), cancel_option(L, given.slot("cancel")));
  okapi_trainer_options options = OKAPI_TRAINER_OPTIONS_INIT;
  options.resume = given.boolean("resume", false) ? 1 : 0;
  options.progress = LongCall::on_progress;
  options.progress_user_data = &long_call;
  options.cancel = long_call.cancel();
  Handle<okapi_trainer> trainer;
  long_call.run([&] {
    trainer = api::make<okapi_trainer>(okapi_trainer_open, runtime, config.c_str(), &options);
  });
  return trainer;
}

namespace {

struct MetricsListener {
  LongCall* call;
  int on_step;  ///< stack indices, or 0
  int on_evaluation;
  int on_checkpoint;
};

}  // namespace

static void on_metrics(int32_t kind, const char* json, void* user_data) {
  const auto& listener = *static_cast<const MetricsListener*>(user_data);
  const int function = kind == OKAPI_METRICS_STEP         ? listener.on_step
                       : kind == OKAPI_METRICS_EVALUATION ? listener.on_evaluation
                       : kind == OKAPI_METRICS_CHECKPOINT ? listener.on_checkpoint
                                                          : 0;
  try {
    listener.call->call_on_json(function, json, "a function that training calls");
  } catch (const std::exception&) {  // out of memory: the run ends after a whole step
    okapi_cancel_request(listener.call->cancel());
  }
}

static void run(lua_State* L, okapi_trainer* trainer, int64_t to_step, const Options& given) {
  LongCall long_call(L, given.function("progress"), cancel_option(L, given.slot("cancel")));
  MetricsListener listener{&long_call, given.function("on_step"), given.function("on_evaluation"),
                           given.function("on_checkpoint")};
  okapi_train_options options = OKAPI_TRAIN_OPTIONS_INIT;
  options.progress = LongCall::on_progress;
  options.progress_user_data = &long_call;
  options.metrics = on_metrics;
  options.metrics_user_data = &listener;
  options.cancel = long_call.cancel();
  // A function called meanwhile may let go of the trainer's box.
  const Handle<okapi_trainer> held(okapi_trainer_ref(trainer));
  long_call.run([&] { api::call(okapi_trainer_run, trainer, to_step, &options); });
}

// Lets the option `cancel`, and Ctrl-C, reach calls that take no cancel token of their own.
template <class Call>
static void cancellable(lua_State* L, okapi_trainer* trainer, const Options& given, Call&& call) {
  const LongCall long_call(L, 0, cancel_option(L, given.slot("cancel")));
  struct Lent {
    okapi_trainer* trainer;
    ~Lent() { okapi_trainer_set_cancel(trainer, nullptr, nullptr); }
  } const lent{trainer};
  api::call(okapi_trainer_set_cancel, trainer, long_call.cancel());
  call();
}

static uint8_t merged_option(const Options& given) {
  return given.boolean("merged", false) ? 1 : 0;
}

static void export_to(lua_State* L, okapi_trainer* trainer, const std::string& folder,
                      const Options& given) {
  const uint8_t merged = merged_option(given);
  cancellable(L, trainer, given,
              [&] { api::call(okapi_trainer_export, trainer, folder.c_str(), merged); });
}

static Json metrics_of(const okapi_trainer* trainer) {
  return Json::parse(api::text(okapi_trainer_metrics, trainer));
}

static Json description_of(const okapi_trainer* trainer) {
  return Json::parse(api::text(okapi_trainer_describe, trainer));
}

// The latest metrics, and where the run stands.
static Json summary_of(const okapi_trainer* trainer) {
  Json summary = metrics_of(trainer);
  const Json description = description_of(trainer);
  for (const char* key : {"steps_done", "n_steps", "n_tokens", "n_learned", "n_trained",
                          "train_rope", "eval_rope", "last_checkpoint", "best_step"}) {
    summary[key] = description.at(key);
  }
  return summary;
}

// okapi.train{configuration..., resume=, on_step=, on_evaluation=, on_checkpoint=, progress=,
//             cancel=, runtime=, export=, merged=} -> summary
static int train(lua_State* L) {
  const std::string config = take_configuration(L, "train", kTrainOptions);
  const Options given(L, -1, "train", kTrainOptions);
  const std::optional<std::string> folder = given.text("export");
  if (given.has("merged") && !folder) {
    throw api::invalid("train: merged says how to export, but export is missing", "merged");
  }
  okapi_runtime* runtime = push_runtime_option(L, given);
  const Handle<okapi_trainer> trainer = open(L, runtime, config, given);
  if (folder) {
    api::call(okapi_trainer_check_export, trainer.get(), folder->c_str(), merged_option(given));
  }
  run(L, trainer.get(), -1, given);
  if (folder) export_to(L, trainer.get(), *folder, given);
  push_json(L, summary_of(trainer.get()));
  return 1;
}

// okapi.trainer{configuration..., resume=, progress=, cancel=, runtime=}
static int trainer_new(lua_State* L) {
  const std::string config = take_configuration(L, "trainer", kOpenOptions);
  const Options given(L, -1, "trainer", kOpenOptions);
  okapi_runtime* runtime = push_runtime_option(L, given);
  const int runtime_index = lua_gettop(L);
  push_box(L, open(L, runtime, config, given), runtime_index);
  return 1;
}

// okapi.plan{configuration..., runtime=}
static int plan(lua_State* L) {
  const std::string config = take_configuration(L, "plan", kPlanOptions);
  const Options given(L, -1, "plan", kPlanOptions);
  okapi_runtime* runtime = push_runtime_option(L, given);
  push_json_text(L, api::text(okapi_trainer_plan, runtime, config.c_str()));
  return 1;
}

// trainer:step() -> what it measured; nothing once all steps are done, so that
// `for step in trainer.step, trainer do ... end` is a run.
static int trainer_step(lua_State* L) {
  okapi_trainer* trainer = object_at<okapi_trainer>(L, 1);
  // No options: a generic for passes what the last call returned as the second argument.
  lua_settop(L, 1);
  const Options none(L, 2, "step", {});
  try {
    cancellable(L, trainer, none, [&] { api::call(okapi_trainer_step, trainer); });
  } catch (const Failure& failure) {
    if (failure.code() != OKAPI_OUT_OF_RANGE) throw;
    const Json description = description_of(trainer);
    if (description.at("steps_done") != description.at("n_steps")) throw;
    return 0;
  }
  push_json(L, metrics_of(trainer).at("step"));
  return 1;
}

// trainer:run([{to_step=, on_step=, on_evaluation=, on_checkpoint=, progress=, cancel=}]) ->
// summary
static int trainer_run(lua_State* L) {
  okapi_trainer* trainer = object_at<okapi_trainer>(L, 1);
  const Options given(L, 2, "run", kRunOptions);
  const std::optional<int64_t> to_step = given.integer("to_step");
  if (to_step && *to_step < 0) {
    throw api::invalid("to_step: must not be negative", "to_step");
  }
  run(L, trainer, to_step.value_or(-1), given);
  push_json(L, summary_of(object_at<okapi_trainer>(L, 1)));
  return 1;
}

// trainer:evaluate([{cancel=}]) -> what it measured
static int trainer_evaluate(lua_State* L) {
  okapi_trainer* trainer = object_at<okapi_trainer>(L, 1);
  const Options given(L, 2, "evaluate", {"cancel"});
  cancellable(L, trainer, given, [&] { api::call(okapi_trainer_evaluate, trainer); });
  push_json(L, metrics_of(trainer).at("evaluation"));
  return 1;
}

// trainer:save() -> {step=, path=}
static int trainer_save(lua_State* L) {
  okapi_trainer* trainer = object_at<okapi_trainer>(L, 1);
  api::call(okapi_trainer_save, trainer);
  push_json(L, metrics_of(trainer).at("checkpoint"));
  return 1;
}

static int trainer_metrics(lua_State* L) {
  push_json(L, metrics_of(object_at<okapi_trainer>(L, 1)));
  return 1;
}

// trainer:export(folder [, {merged=, cancel=}])
static int trainer_export(lua_State* L) {
  okapi_trainer* trainer = object_at<okapi_trainer>(L, 1);
  const std::string folder = text_at(L, 2, "folder");
  const Options given(L, 3, "export", {"merged", "cancel"});
  export_to(L, trainer, folder, given);
  return 0;
}

static int trainer_describe(lua_State* L) {
  push_json(L, description_of(object_at<okapi_trainer>(L, 1)));
  return 1;
}

void open_trainer(lua_State* L) {
  const luaL_Reg methods[] = {
      {"describe", entry<trainer_describe>}, {"evaluate", entry<trainer_evaluate>},
      {"export", entry<trainer_export>},     {"metrics", entry<trainer_metrics>},
      {"run", entry<trainer_run>},           {"save", entry<trainer_save>},
      {"step", entry<trainer_step>},         {nullptr, nullptr}};
  define_box<okapi_trainer>(L, methods);
  const luaL_Reg functions[] = {{"plan", entry<plan>},
                                {"train", entry<train>},
                                {"trainer", entry<trainer_new>},
                                {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 0);
}

}  // namespace okapi::lua
