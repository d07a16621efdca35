// okapi.evaluate{task=, model=, rope=, ...}: runs what is missing and returns the report.
#include "capi/lua/adapter.h"
#include "capi/lua/arguments.h"
#include "capi/lua/bindings.h"
#include "capi/lua/box.h"
#include "capi/lua/json_value.h"
#include "capi/lua/long_call.h"
#include "capi/lua/report.h"
#include "capi/lua/rope.h"
#include "capi/lua/task.h"

namespace okapi::lua {

static int evaluate(lua_State* L) {
  const Options given(L, 1, "evaluate",
                      {"task", "model", "adapter", "rope", "rope_length", "results", "batch_size",
                       "max_samples", "deterministic", "progress", "cancel"});
  given.require("task");
  given.require("model");
  const int model_slot = given.slot("model");
  okapi_model* model = object_at<okapi_model>(L, model_slot);
  const Handle<okapi_task> task = task_for_model(L, given.slot("task"), model_slot);
  const Handle<okapi_rope> rope = rope_option(L, given.slot("rope"), model);
  const Handle<okapi_adapter> adapter = adapter_option(L, given.slot("adapter"), model);

  okapi_evaluation_options options = OKAPI_EVALUATION_OPTIONS_INIT;
  options.rope = rope.get();
  options.adapter = adapter.get();
  options.rope_length = rope_length_option(L, given.slot("rope_length"));
  options.batch_size = static_cast<int32_t>(given.integer("batch_size").value_or(0));
  options.max_samples = given.integer("max_samples").value_or(0);
  options.deterministic = given.boolean("deterministic", false) ? 1 : 0;
  if (const int slot = given.slot("results")) options.results = object_at<okapi_results>(L, slot);
  const Handle<okapi_evaluation> evaluation =
      api::make<okapi_evaluation>(okapi_evaluation_create, task.get(), model, &options);

  LongCall long_call(L, given.function("progress"), cancel_option(L, given.slot("cancel")));
  okapi_run_options run = OKAPI_RUN_OPTIONS_INIT;
  run.progress = LongCall::on_progress;
  run.progress_user_data = &long_call;
  run.cancel = long_call.cancel();
  long_call.run([&] { api::call(okapi_evaluation_run, evaluation.get(), &run); });

  Json report = Json::parse(api::text(okapi_evaluation_report, evaluation.get()));
  api::add_headline(report);
  push_json(L, report);
  return 1;
}

void open_evaluation(lua_State* L) {
  lua_pushcfunction(L, entry<evaluate>);
  lua_setfield(L, -2, "evaluate");
}

}  // namespace okapi::lua
