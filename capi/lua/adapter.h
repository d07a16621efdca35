// Adapters as scripts give them: a peft folder, or an adapter opened before.
#pragma once

#include "capi/lua/box.h"

namespace okapi::lua {

/// The adapter at stack index `slot` (0: none), as an option `adapter` of something of `model`.
Handle<okapi_adapter> adapter_option(lua_State* L, int slot, okapi_model* model);

}  // namespace okapi::lua
