// okapi.runtime{...}: plugins, backend, threads, log. A default one is made when first needed.
#include "capi/lua/arguments.h"
#include "capi/lua/bindings.h"
#include "capi/lua/box.h"
#include "capi/lua/json_value.h"
#include "capi/lua/runtime.h"

namespace okapi::lua {

static const char kDefaultRuntimeKey = 0;

// okapi_log_sink: any thread may call it, so it only takes notes.
static void take_log_record(const okapi_log_record* record, void* user_data) {
  try {
    auto& queue = **static_cast<std::shared_ptr<LogQueue>*>(user_data);
    LogRecord kept{record->level, record->component, record->message, record->time_ns, {}};
    for (uint64_t i = 0; i < record->n_fields; ++i) {
      kept.fields.emplace_back(record->fields[i].key, record->fields[i].value);
    }
    const std::lock_guard lock(queue.mutex);
    queue.records.push_back(std::move(kept));
  } catch (...) {
    // Out of memory: this record is lost, the work it tells of goes on.
  }
}

static void drop_log_queue(void* user_data) {
  delete static_cast<std::shared_ptr<LogQueue>*>(user_data);
}

static const std::vector<std::pair<std::string, int32_t>> kLogLevels = {
    {"trace", OKAPI_LOG_TRACE}, {"debug", OKAPI_LOG_DEBUG}, {"info", OKAPI_LOG_INFO},
    {"warn", OKAPI_LOG_WARN},   {"error", OKAPI_LOG_ERROR}, {"silent", OKAPI_LOG_SILENT}};

static int32_t to_int32(int64_t value, const std::string& name) {
  if (value < INT32_MIN || value > INT32_MAX) throw api::invalid(name + ": out of range", name);
  return static_cast<int32_t>(value);
}

// okapi.runtime{threads=, backend=, plugin_paths=, module_path=, device=, log=, log_level=}
static int runtime_new(lua_State* L) {
  const Options given(
      L, 1, "runtime",
      {"threads", "backend", "plugin_paths", "module_path", "device", "log", "log_level"});
  okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.n_threads = to_int32(given.integer("threads").value_or(0), "threads");
  options.device_index = to_int32(given.integer("device").value_or(0), "device");
  const std::string backend = given.text("backend").value_or("");
  options.backend = backend.c_str();
  const std::optional<std::string> module_path = given.text("module_path");
  options.module_path = module_path ? module_path->c_str() : nullptr;

  std::vector<std::string> paths;
  if (given.has("plugin_paths")) paths = texts_at(L, given.slot("plugin_paths"), "plugin_paths");
  std::vector<const char*> path_pointers;
  path_pointers.reserve(paths.size());
  for (const std::string& path : paths) path_pointers.push_back(path.c_str());
  options.plugin_paths = path_pointers.data();
  options.n_plugin_paths = path_pointers.size();

  if (const auto level = given.text("log_level"))
    options.log_level = choice(*level, "log_level", kLogLevels);
  const int log_function = given.function("log");
  std::shared_ptr<LogQueue> queue;
  std::unique_ptr<std::shared_ptr<LogQueue>> sink_queue;
  if (log_function != 0) {
    queue = std::make_shared<LogQueue>();
    sink_queue = std::make_unique<std::shared_ptr<LogQueue>>(queue);
    options.log_sink = take_log_record;
    options.log_user_data = sink_queue.get();
    options.log_destroy = drop_log_queue;
  }

  const std::shared_ptr<State> state = state_of(L);
  if (queue != nullptr) state->log_queues.push_back(queue);
  Handle<okapi_runtime> runtime = api::make<okapi_runtime>(okapi_runtime_create, &options);
  static_cast<void>(sink_queue.release());  // the runtime's from here on
  push_box(L, std::move(runtime), 0);
  if (queue != nullptr) {
    lua_pushvalue(L, log_function);
    queue->function_id = keep_function(L, -2);
  }
  return 1;
}

void push_default_runtime(lua_State* L) {
  need_stack(L, 2);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &kDefaultRuntimeKey) != LUA_TNIL) {
    const auto* box = static_cast<const Box<okapi_runtime>*>(lua_touserdata(L, -1));
    if (box->object != nullptr) return;  // a closed one is replaced
  }
  lua_pop(L, 1);
  const auto& make_runtime = state_of(L)->embedding.make_default_runtime;
  push_box(L,
           make_runtime ? make_runtime() : api::make<okapi_runtime>(okapi_runtime_create, nullptr),
           0);
  lua_pushvalue(L, -1);
  protect(L, 1, 0, [](lua_State* inner) {
    lua_rawsetp(inner, LUA_REGISTRYINDEX, &kDefaultRuntimeKey);
    return 0;
  });
}

okapi_runtime* push_runtime_option(lua_State* L, const Options& options) {
  if (const int slot = options.slot("runtime")) {
    object_at<okapi_runtime>(L, slot);
    lua_pushvalue(L, slot);
  } else {
    push_default_runtime(L);
  }
  return object_at<okapi_runtime>(L, -1);
}

void push_runtime_of(lua_State* L, int index) {
  need_stack(L, 2);
  lua_pushvalue(L, index);
  while (!is_box<okapi_runtime>(L, -1)) {
    if (lua_type(L, -1) != LUA_TUSERDATA || lua_getiuservalue(L, -1, 1) != LUA_TUSERDATA) {
      throw Failure(OKAPI_INTERNAL, "an object without a runtime");
    }
    lua_remove(L, -2);
  }
}

// okapi.default_runtime([runtime]): the one that is used where none is named; sets it if given.
static int default_runtime(lua_State* L) {
  if (lua_isnoneornil(L, 1)) {
    push_default_runtime(L);
    return 1;
  }
  object_at<okapi_runtime>(L, 1);
  lua_settop(L, 1);
  lua_pushvalue(L, 1);
  protect(L, 1, 0, [](lua_State* inner) {
    lua_rawsetp(inner, LUA_REGISTRYINDEX, &kDefaultRuntimeKey);
    return 0;
  });
  return 1;
}

static int runtime_describe(lua_State* L) {
  push_json_text(L, api::text(okapi_runtime_describe, object_at<okapi_runtime>(L, 1)));
  return 1;
}

static int runtime_plugins(lua_State* L) {
  push_json_text(L, api::text(okapi_runtime_plugins, object_at<okapi_runtime>(L, 1)));
  return 1;
}

static int runtime_add_plugin(lua_State* L) {
  const std::string path = text_at(L, 2, "path");
  api::call(okapi_runtime_add_plugin, object_at<okapi_runtime>(L, 1), path.c_str());
  return 0;
}

static int runtime_check_plugin(lua_State* L) {
  const std::string path = text_at(L, 2, "path");
  push_json_text(L, api::text(okapi_plugin_check, object_at<okapi_runtime>(L, 1), path.c_str()));
  return 1;
}

// okapi.plugin_info(path): metadata, read without running the plugin's code.
static int plugin_info(lua_State* L) {
  const std::string path = text_at(L, 1, "path");
  push_json_text(L, api::text(okapi_plugin_info, path.c_str()));
  return 1;
}

static int push_measurement(lua_State* L, const okapi_measurement& measurement) {
  lua_pushnumber(L, measurement.value);
  push_text(L, measurement.kernel);
  return 2;
}

// runtime:measure_matmul{m=, n=, k=, dtype=} -> FLOP/s, kernel
static int runtime_measure_matmul(lua_State* L) {
  okapi_runtime* runtime = object_at<okapi_runtime>(L, 1);
  const Options given(L, 2, "measure_matmul", {"m", "n", "k", "dtype"});
  for (const char* key : {"m", "n", "k"}) given.require(key);
  okapi_measurement measurement = OKAPI_MEASUREMENT_INIT;
  api::call(okapi_runtime_measure_matmul, runtime, *given.integer("m"), *given.integer("n"),
            *given.integer("k"), dtype_option(given.text("dtype").value_or("f32")), &measurement);
  return push_measurement(L, measurement);
}

// runtime:measure_attention{n_tokens=, n_heads=, n_kv_heads=, head_dim=, dtype=} -> FLOP/s, kernel
static int runtime_measure_attention(lua_State* L) {
  okapi_runtime* runtime = object_at<okapi_runtime>(L, 1);
  const Options given(L, 2, "measure_attention",
                      {"n_tokens", "n_heads", "n_kv_heads", "head_dim", "dtype"});
  for (const char* key : {"n_tokens", "n_heads", "n_kv_heads", "head_dim"}) given.require(key);
  okapi_measurement measurement = OKAPI_MEASUREMENT_INIT;
  api::call(okapi_runtime_measure_attention, runtime, *given.integer("n_tokens"),
            *given.integer("n_heads"), *given.integer("n_kv_heads"), *given.integer("head_dim"),
            dtype_option(given.text("dtype").value_or("f32")), &measurement);
  return push_measurement(L, measurement);
}

// runtime:measure_bandwidth([n_bytes]) -> bytes/s, kernel
static int runtime_measure_bandwidth(lua_State* L) {
  okapi_runtime* runtime = object_at<okapi_runtime>(L, 1);
  const int64_t n_bytes = lua_isnoneornil(L, 2) ? 0 : integer_at(L, 2, "n_bytes");
  if (n_bytes < 0) throw api::invalid("n_bytes: must not be negative", "n_bytes");
  okapi_measurement measurement = OKAPI_MEASUREMENT_INIT;
  api::call(okapi_runtime_measure_bandwidth, runtime, static_cast<uint64_t>(n_bytes), &measurement);
  return push_measurement(L, measurement);
}

int32_t dtype_option(const std::string& word) {
  return choice(word, "dtype",
                {{"f32", OKAPI_DTYPE_F32}, {"bf16", OKAPI_DTYPE_BF16}, {"f16", OKAPI_DTYPE_F16}});
}

void open_runtime(lua_State* L) {
  const luaL_Reg methods[] = {{"add_plugin", entry<runtime_add_plugin>},
                              {"check_plugin", entry<runtime_check_plugin>},
                              {"describe", entry<runtime_describe>},
                              {"measure_attention", entry<runtime_measure_attention>},
                              {"measure_bandwidth", entry<runtime_measure_bandwidth>},
                              {"measure_matmul", entry<runtime_measure_matmul>},
                              {"plugins", entry<runtime_plugins>},
                              {nullptr, nullptr}};
  define_box<okapi_runtime>(L, methods);
  const luaL_Reg functions[] = {{"default_runtime", entry<default_runtime>},
                                {"plugin_info", entry<plugin_info>},
                                {"runtime", entry<runtime_new>},
                                {nullptr, nullptr}};
  luaL_setfuncs(L, functions, 0);
}

}  // namespace okapi::lua
