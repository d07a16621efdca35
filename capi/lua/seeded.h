// Parameters of datasets and tasks: `seed` among them is the host's, the rest is the plugin's.
#pragma once

#include <cstdint>
#include <string>

#include "capi/lua/json_value.h"

namespace okapi::lua {

struct SeededParameters {
  Json parameters;
  uint64_t seed;
};

/// The table at `index`; the seed is 1 if it names none.
SeededParameters take_seed(lua_State* L, int index, const std::string& name);

}  // namespace okapi::lua
