// okapi.model(path, options) and okapi.model{random=config, seed=}: weights, loaded once.
#include "capi/lua/arguments.h"
#include "capi/lua/bindings.h"
#include "capi/lua/box.h"
#include "capi/lua/json_value.h"
#include "capi/lua/long_call.h"
#include "capi/lua/runtime.h"

namespace okapi::lua {

static const std::vector<std::string> kLoadOptions = {
    "dtype", "pair_layout", "tokenizer", "config_file", "progress", "cancel", "runtime"};

// Text of a configuration: given as such, or as a table.
static std::string config_text(lua_State* L, int index) {
  if (lua_type(L, index) == LUA_TSTRING) return text_at(L, index, "random");
  return json_text(parameters_at(L, index, "random"), "random");
}

static int model_new(lua_State* L) {
  const bool is_random = lua_type(L, 1) == LUA_TTABLE;
  std::vector<std::string> known = kLoadOptions;
  if (is_random) known.insert(known.end(), {"random", "seed"});
  const std::string path = is_random ? "" : text_at(L, 1, "path");
  const Options given(L, is_random ? 1 : 2, "model", known);

  okapi_model_options options = OKAPI_MODEL_OPTIONS_INIT;
  if (const auto dtype = given.text("dtype")) options.dtype = dtype_option(*dtype);
  if (const auto layout = given.text("pair_layout")) {
    options.pair_layout = choice(*layout, "pair_layout",
                                 {{"half_split", OKAPI_PAIR_LAYOUT_HALF_SPLIT},
                                  {"interleaved", OKAPI_PAIR_LAYOUT_INTERLEAVED}});
  }
  options.without_tokenizer = given.boolean("tokenizer", true) ? 0 : 1;
  const std::optional<std::string> config_file = given.text("config_file");
  options.config_file = config_file ? config_file->c_str() : nullptr;
  LongCall long_call(L, given.function("progress"), cancel_option(L, given.slot("cancel")));
  options.progress = LongCall::on_progress;
  options.progress_user_data = &long_call;
  options.cancel = long_call.cancel();

  okapi_runtime* runtime = push_runtime_option(L, given);
  const int runtime_index = lua_gettop(L);
  Handle<okapi_model> model;
  if (is_random) {
    given.require("random");
    const std::string config = config_text(L, given.slot("random"));
    const auto seed = static_cast<uint64_t>(given.integer("seed").value_or(1));
    long_call.run([&] {
      model = api::make<okapi_model>(okapi_model_create_random, runtime, config.c_str(), seed,
                                     &options);
    });
  } else {
    long_call.run(
        [&] { model = api::make<okapi_model>(okapi_model_open, runtime, path.c_str(), &options); });
  }
  push_box(L, std::move(model), runtime_index);
  return 1;
}

static const char* dtype_name(int32_t dtype) {
  switch (dtype) {
    case OKAPI_DTYPE_F32:
      return "f32";
    case OKAPI_DTYPE_F16:
      return "f16";
    case OKAPI_DTYPE_BF16:
      return "bf16";
    default:
      return "unknown";
  }
}

static int model_info(lua_State* L) {
  okapi_model_info info = OKAPI_MODEL_INFO_INIT;
  api::call(okapi_model_get_info, object_at<okapi_model>(L, 1), &info);
  Json json = {{"dtype", dtype_name(info.dtype)},
               {"n_layers", info.n_layers},
               {"d_model", info.d_model},
               {"d_ff", info.d_ff},
               {"vocab_size", info.vocab_size},
               {"n_heads", info.n_heads},
               {"n_kv_heads", info.n_kv_heads},
               {"head_dim", info.head_dim},
               {"trained_length", info.trained_length},
               {"base", info.base},
               {"n_parameters", info.n_parameters},
               {"weight_bytes", info.weight_bytes},
               {"kv_bytes_per_token", info.kv_bytes_per_token},
               {"has_tokenizer", info.has_tokenizer != 0},
               {"tied_embeddings", info.tied_embeddings != 0}};
  if (info.bos_id >= 0) json["bos_id"] = info.bos_id;
  if (info.eos_id >= 0) json["eos_id"] = info.eos_id;
  push_json(L, json);
  return 1;
}

static int model_describe(lua_State* L) {
  push_json_text(L, api::text(okapi_model_describe, object_at<okapi_model>(L, 1)));
  return 1;
}

void open_model(lua_State* L) {
  const luaL_Reg methods[] = {
      {"adapter", entry<model_adapter>},     {"describe", entry<model_describe>},
      {"info", entry<model_info>},           {"restore", entry<model_restore>},
      {"rope", entry<model_rope>},           {"session", entry<model_session>},
      {"tokenizer", entry<model_tokenizer>}, {nullptr, nullptr}};
  define_box<okapi_model>(L, methods);
  lua_pushcfunction(L, entry<model_new>);
  lua_setfield(L, -2, "model");
}

}  // namespace okapi::lua
