// okapi.task(name, params [, model]): what is asked and how answers are scored; items count from 1.
#include "capi/lua/task.h"

#include "capi/lua/arguments.h"
#include "capi/lua/bindings.h"
#include "capi/lua/json_value.h"
#include "capi/lua/seeded.h"

namespace okapi::lua {

Handle<okapi_task> TaskRecipe::open(okapi_runtime* runtime, okapi_tokenizer* tokenizer) const {
  if (!prompts.empty()) {
    return api::make<okapi_task>(okapi_task_open_prompts, runtime, name.c_str(), parameters.c_str(),
                                 prompts.c_str(), tokenizer);
  }
  return api::make<okapi_task>(okapi_task_open, runtime, name.c_str(), parameters.c_str(), seed,
                               tokenizer, dataset.get());
}

// Opens a recipe for the model, or tokenizer, at `index`.
static Handle<okapi_task> open_for(lua_State* L, const TaskRecipe& recipe, int index) {
  Handle<okapi_tokenizer> tokenizer;
  if (is_box<okapi_tokenizer>(L, index)) {
    tokenizer.reset(okapi_tokenizer_ref(object_at<okapi_tokenizer>(L, index)));
  } else {
    tokenizer =
        api::make<okapi_tokenizer>(okapi_model_get_tokenizer, object_at<okapi_model>(L, index));
  }
  push_runtime_of(L, index);
  Handle<okapi_task> task = recipe.open(object_at<okapi_runtime>(L, -1), tokenizer.get());
  lua_pop(L, 1);
  return task;
}

Handle<okapi_task> task_for_model(lua_State* L, int index, int model) {
  if (is_box<TaskRecipe>(L, index)) return open_for(L, *object_at<TaskRecipe>(L, index), model);
  return Handle<okapi_task>(okapi_task_ref(object_at<okapi_task>(L, index)));
}

// Takes `prompts` and `dataset`, which are not the plugin's, out of a copy of the parameters.
static void split_parameters(lua_State* L, int index, TaskRecipe& recipe) {
  need_stack(L, 6);
  lua_pushvalue(L, index);
  protect(L, 1, 3, [](lua_State* inner) {  // parameters without the two, prompts, dataset
    lua_newtable(inner);
    for (lua_pushnil(inner); lua_next(inner, 1); lua_pop(inner, 1)) {
      lua_pushvalue(inner, -2);
      lua_pushvalue(inner, -2);
      lua_rawset(inner, 2);
    }
    for (const char* key : {"prompts", "dataset"}) {
      lua_pushnil(inner);
      lua_setfield(inner, 2, key);
    }
    lua_getfield(inner, 1, "prompts");
    lua_getfield(inner, 1, "dataset");
    return 3;
  });
  const int dataset = lua_gettop(L);
  if (!lua_isnil(L, dataset)) {
    recipe.dataset.reset(okapi_dataset_ref(object_at<okapi_dataset>(L, dataset)));
  }
  const int prompts = dataset - 1;
  if (lua_type(L, prompts) == LUA_TSTRING) {
    recipe.prompts = text_at(L, prompts, "prompts");
  } else if (!lua_isnil(L, prompts)) {
    recipe.prompts = json_text(json_at(L, prompts, "prompts", Floats::keep), "prompts");
  }
  if (!recipe.prompts.empty() && recipe.dataset != nullptr) {
    throw api::invalid("task: give prompts or a dataset, not both", "prompts");
  }
  SeededParameters given = take_seed(L, dataset - 2, "task");
  recipe.parameters = json_text(given.parameters, "task");
  recipe.seed = given.seed;
  lua_pop(L, 3);
}

static int task_new(lua_State* L) {
  lua_settop(L, 3);
  auto recipe = std::make_unique<TaskRecipe>();
  recipe->name = text_at(L, 1, "name");
  recipe->parameters = "{}";
  recipe->seed = 1;
  if (!lua_isnil(L, 2)) {
    if (lua_type(L, 2) != LUA_TTABLE)
      throw api::invalid("task: wanted a table, found " + found_at(L, 2));
    split_parameters(L, 2, *recipe);
  }
  if (lua_isnil(L, 3)) {
    push_box(L, Handle<TaskRecipe>(recipe.release()), 0);
  } else {
    push_box(L, open_for(L, *recipe, 3), 3);
  }
  return 1;
}

// task:bind(model) -> the task, opened for a model
static int recipe_bind(lua_State* L) {
  push_box(L, open_for(L, *object_at<TaskRecipe>(L, 1), 2), 2);
  return 1;
}

static int recipe_waits(lua_State* L) {
  throw Failure(
      OKAPI_FAILED_PRECONDITION,
      "task '" + object_at<TaskRecipe>(L, 1)->name +
          "' has no model yet: give one as okapi.task's third argument, or use task:bind(model)");
}

static int task_count(lua_State* L) {
  lua_pushinteger(L, okapi_task_count(object_at<okapi_task>(L, 1)));
  return 1;
}

static int64_t item_index(lua_State* L) {
  const int64_t index = integer_at(L, 2, "index");
  if (index < 1) throw Failure(OKAPI_OUT_OF_RANGE, "items are numbered from 1");
  return index - 1;
}

static int task_item(lua_State* L) {
  push_json_text(L, api::text(okapi_task_item, object_at<okapi_task>(L, 1), item_index(L)));
  return 1;
}

// task:score(index, output) -> the task's metrics and what it parsed
static int task_score(lua_State* L) {
  const okapi_task* task = object_at<okapi_task>(L, 1);
  const std::string output = text_at(L, 3, "output");
  push_json_text(L, api::text(okapi_task_score, task, item_index(L), output.c_str()));
  return 1;
}

static int task_describe(lua_State* L) {
  push_json_text(L, api::text(okapi_task_describe, object_at<okapi_task>(L, 1)));
  return 1;
}

void open_task(lua_State* L) {
  const luaL_Reg methods[] = {{"count", entry<task_count>},
                              {"describe", entry<task_describe>},
                              {"item", entry<task_item>},
                              {"score", entry<task_score>},
                              {nullptr, nullptr}};
  define_box<okapi_task>(L, methods);
  const luaL_Reg waiting_methods[] = {
      {"bind", entry<recipe_bind>},      {"count", entry<recipe_waits>},
      {"describe", entry<recipe_waits>}, {"item", entry<recipe_waits>},
      {"score", entry<recipe_waits>},    {nullptr, nullptr}};
  define_box<TaskRecipe>(L, waiting_methods);
  lua_pushcfunction(L, entry<task_new>);
  lua_setfield(L, -2, "task");
}

}  // namespace okapi::lua
