// okapi.results(path): every sample, in one SQLite file.
#include "capi/lua/arguments.h"
#include "capi/lua/bindings.h"
#include "capi/lua/box.h"
#include "capi/lua/json_value.h"
#include "capi/lua/runtime.h"

namespace okapi::lua {

// okapi.results(path [, {read_only=, runtime=}])
static int results_new(lua_State* L) {
  const std::string path = text_at(L, 1, "path");
  const Options given(L, 2, "results", {"read_only", "runtime"});
  okapi_results_options options = OKAPI_RESULTS_OPTIONS_INIT;
  options.read_only = given.boolean("read_only", false) ? 1 : 0;
  okapi_runtime* runtime = push_runtime_option(L, given);
  push_box(L, api::make<okapi_results>(okapi_results_open, runtime, path.c_str(), &options),
           lua_gettop(L));
  return 1;
}

static int results_summary(lua_State* L) {
  push_json_text(L, api::text(okapi_results_summary, object_at<okapi_results>(L, 1)));
  return 1;
}

static int results_training(lua_State* L) {
  push_json_text(L, api::text(okapi_results_training, object_at<okapi_results>(L, 1)));
  return 1;
}

template <int32_t kFormat>
static int results_export(lua_State* L) {
  const okapi_results* results = object_at<okapi_results>(L, 1);
  const std::string path = text_at(L, 2, "path");
  api::call(okapi_results_export, results, kFormat, path.c_str());
  return 0;
}

void open_results(lua_State* L) {
  const luaL_Reg methods[] = {{"export_csv", entry<results_export<OKAPI_EXPORT_CSV>>},
                              {"export_json", entry<results_export<OKAPI_EXPORT_JSON>>},
                              {"summary", entry<results_summary>},
                              {"training", entry<results_training>},
                              {nullptr, nullptr}};
  define_box<okapi_results>(L, methods);
  lua_pushcfunction(L, entry<results_new>);
  lua_setfield(L, -2, "results");
}

}  // namespace okapi::lua
