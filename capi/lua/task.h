// Tasks in Lua. One made without a model waits for one: its lengths are counted in a model's
// tokens.
#pragma once

#include <string>

#include "capi/lua/box.h"

namespace okapi::lua {

/// A task that waits for a tokenizer.
struct TaskRecipe {
  std::string name;
  std::string parameters;  ///< JSON object
  std::string prompts;     ///< JSON array, or "": the task makes its own
  uint64_t seed;
  Handle<okapi_dataset> dataset;

  /// Opens the task for a model with this tokenizer.
  Handle<okapi_task> open(okapi_runtime* runtime, okapi_tokenizer* tokenizer) const;
};

inline void unref(TaskRecipe* recipe) { delete recipe; }

template <>
struct BoxKind<okapi_task> {
  static constexpr const char* kName = "task";
  inline static const char kKey = 0;
};

template <>
struct BoxKind<TaskRecipe> {
  static constexpr const char* kName = "task";
  inline static const char kKey = 0;
};

/// The task at stack index `index`, opened for the model at `model` if it still waits for one.
Handle<okapi_task> task_for_model(lua_State* L, int index, int model);

}  // namespace okapi::lua
