// okapi.rope(model, spec): a position-encoding scheme. okapi.rope.define() is in
// bind_rope_scheme.cpp.
#include "capi/lua/rope.h"

#include "capi/lua/arguments.h"
#include "capi/lua/array.h"
#include "capi/lua/bindings.h"
#include "capi/lua/json_value.h"
#include "capi/lua/runtime.h"

namespace okapi::lua {

Handle<okapi_rope> rope_option(lua_State* L, int slot, const okapi_model* model) {
  if (slot == 0) return nullptr;
  if (is_box<okapi_rope>(L, slot))
    return Handle<okapi_rope>(okapi_rope_ref(object_at<okapi_rope>(L, slot)));
  if (lua_type(L, slot) != LUA_TSTRING) {
    throw api::invalid("rope: wanted a spec or a rope, found " + found_at(L, slot), "rope");
  }
  const std::string spec = text_at(L, slot, "rope");
  return api::make<okapi_rope>(okapi_rope_create, model, spec.c_str());
}

int64_t rope_length_option(lua_State* L, int slot) {
  if (slot == 0) return OKAPI_ROPE_LENGTH_AUTO;
  if (lua_type(L, slot) == LUA_TSTRING && text_at(L, slot, "rope_length") == "follow") {
    return OKAPI_ROPE_LENGTH_FOLLOW;
  }
  if (lua_type(L, slot) != LUA_TNUMBER || integer_at(L, slot, "rope_length") < 1) {
    throw api::invalid(
        "rope_length: wanted a length in tokens or 'follow', found " + found_at(L, slot),
        "rope_length");
  }
  return integer_at(L, slot, "rope_length");
}

static void push_rope(lua_State* L, int model_index, int spec_index) {
  const okapi_model* model = object_at<okapi_model>(L, model_index);
  const std::string spec = lua_isnoneornil(L, spec_index) ? "" : text_at(L, spec_index, "spec");
  push_box(L, api::make<okapi_rope>(okapi_rope_create, model, spec.c_str()), model_index);
}

// model:rope([spec]); without one, what the model's configuration says
int model_rope(lua_State* L) {
  push_rope(L, 1, 2);
  return 1;
}

// okapi.rope(model, spec): called through the metatable of the table okapi.rope, which is argument
// 1
static int rope_call(lua_State* L) {
  push_rope(L, 2, 3);
  return 1;
}

// okapi.rope.for_shape{spec=, head_dim=, trained_length=, base=, n_layers=, runtime=}
static int rope_for_shape(lua_State* L) {
  const Options given(L, 1, "rope.for_shape",
                      {"spec", "head_dim", "trained_length", "base", "n_layers", "runtime"});
  for (const char* key : {"spec", "head_dim", "trained_length"}) given.require(key);
  okapi_rope_shape shape = OKAPI_ROPE_SHAPE_INIT;
  shape.head_dim = *given.integer("head_dim");
  shape.trained_length = *given.integer("trained_length");
  shape.base = given.number("base").value_or(0);
  shape.n_layers = static_cast<int32_t>(given.integer("n_layers").value_or(0));
  const std::string spec = *given.text("spec");
  okapi_runtime* runtime = push_runtime_option(L, given);
  push_box(L, api::make<okapi_rope>(okapi_rope_create_for_shape, runtime, &shape, spec.c_str()),
           lua_gettop(L));
  return 1;
}

static int rope_canonical(lua_State* L) {
  push_text(L, api::text(okapi_rope_canonical, object_at<okapi_rope>(L, 1)));
  return 1;
}

// rope:explain([length])
static int rope_explain(lua_State* L) {
  const okapi_rope* rope = object_at<okapi_rope>(L, 1);
  const int64_t length = lua_isnoneornil(L, 2) ? 0 : integer_at(L, 2, "length");
  push_json_text(L, api::text(okapi_rope_explain, rope, length));
  return 1;
}

// rope:table{length=, layer=} -> {inv_freq=array, rotation_gain=, attention_temperature=}
static int rope_table(lua_State* L) {
  const okapi_rope* rope = object_at<okapi_rope>(L, 1);
  const Options given(L, 2, "table", {"length", "layer"});
  const int64_t length = given.integer("length").value_or(0);
  const auto layer = static_cast<int32_t>(given.integer("layer").value_or(0));

  std::vector<double> inv_freq(256);
  size_t n_pairs = 0;
  double gain = 0;
  double temperature = 0;
  const auto fill = [&](okapi_error** error) {
    return okapi_rope_table(rope, length, layer, inv_freq.data(), inv_freq.size(), &n_pairs, &gain,
                            &temperature, error);
  };
  okapi_error* error = nullptr;
  okapi_status status = fill(&error);
  if (status == OKAPI_OUT_OF_RANGE && n_pairs > inv_freq.size()) {
    okapi_error_unref(error);
    inv_freq.resize(n_pairs);
    status = fill(&error);
  }
  if (status != OKAPI_OK) throw Failure::from(status, error);

  const auto size = static_cast<int64_t>(n_pairs);
  Array* array = push_array(L, Element::f64, size, size);
  std::copy_n(inv_freq.data(), n_pairs, array->f64());
  protect(L, 1, 1, [gain, temperature](lua_State* inner) {
    lua_createtable(inner, 0, 3);
    lua_pushvalue(inner, 1);
    lua_setfield(inner, -2, "inv_freq");
    lua_pushnumber(inner, gain);
    lua_setfield(inner, -2, "rotation_gain");
    lua_pushnumber(inner, temperature);
    lua_setfield(inner, -2, "attention_temperature");
    return 1;
  });
  return 1;
}

void open_rope(lua_State* L) {
  const luaL_Reg methods[] = {{"canonical", entry<rope_canonical>},
                              {"explain", entry<rope_explain>},
                              {"table", entry<rope_table>},
                              {nullptr, nullptr}};
  define_box<okapi_rope>(L, methods);

  lua_newtable(L);
  lua_pushcfunction(L, entry<rope_for_shape>);
  lua_setfield(L, -2, "for_shape");
  lua_newtable(L);
  lua_pushcfunction(L, entry<rope_call>);
  lua_setfield(L, -2, "__call");
  lua_setmetatable(L, -2);
  lua_setfield(L, -2, "rope");
}

}  // namespace okapi::lua
