// okapi.dataset(name, params): records, numbered from 1.
#include "capi/lua/arguments.h"
#include "capi/lua/bindings.h"
#include "capi/lua/box.h"
#include "capi/lua/json_value.h"
#include "capi/lua/runtime.h"
#include "capi/lua/seeded.h"

namespace okapi::lua {

SeededParameters take_seed(lua_State* L, int index, const std::string& name) {
  SeededParameters taken{parameters_at(L, index, name), 1};
  const auto seed = taken.parameters.find("seed");
  if (seed == taken.parameters.end()) return taken;
  if (!seed->is_number_integer() || *seed < 0) {
    throw api::invalid("seed: wanted an integer from 0 on, found " + seed->dump(), "seed");
  }
  taken.seed = seed->get<uint64_t>();
  taken.parameters.erase(seed);
  return taken;
}

// okapi.dataset(name [, {seed=, parameters...} [, {runtime=}]])
static int dataset_new(lua_State* L) {
  const std::string name = text_at(L, 1, "name");
  const SeededParameters given = take_seed(L, 2, "dataset");
  const Options options(L, 3, "dataset", {"runtime"});
  okapi_runtime* runtime = push_runtime_option(L, options);
  const int runtime_index = lua_gettop(L);
  const std::string parameters = json_text(given.parameters, "dataset");
  push_box(L,
           api::make<okapi_dataset>(okapi_dataset_open, runtime, name.c_str(), parameters.c_str(),
                                    given.seed),
           runtime_index);
  return 1;
}

// dataset:count(): nothing if the records never end
static int dataset_count(lua_State* L) {
  const int64_t count = okapi_dataset_count(object_at<okapi_dataset>(L, 1));
  if (count < 0) return 0;
  lua_pushinteger(L, count);
  return 1;
}

static int dataset_record(lua_State* L) {
  const okapi_dataset* dataset = object_at<okapi_dataset>(L, 1);
  const int64_t index = integer_at(L, 2, "index");
  if (index < 1) throw Failure(OKAPI_OUT_OF_RANGE, "records are numbered from 1");
  push_json_text(L, api::text(okapi_dataset_record, dataset, index - 1));
  return 1;
}

static int dataset_describe(lua_State* L) {
  push_json_text(L, api::text(okapi_dataset_describe, object_at<okapi_dataset>(L, 1)));
  return 1;
}

void open_dataset(lua_State* L) {
  const luaL_Reg methods[] = {{"count", entry<dataset_count>},
                              {"describe", entry<dataset_describe>},
                              {"record", entry<dataset_record>},
                              {nullptr, nullptr}};
  define_box<okapi_dataset>(L, methods);
  lua_pushcfunction(L, entry<dataset_new>);
  lua_setfield(L, -2, "dataset");
}

}  // namespace okapi::lua
