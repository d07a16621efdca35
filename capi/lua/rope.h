// Position schemes as scripts give them: a spec, or a rope made before.
#pragma once

#include "capi/lua/box.h"

namespace okapi::lua {

/// The rope at stack index `slot` (0: none, the model's own), as an option `rope`.
Handle<okapi_rope> rope_option(lua_State* L, int slot, const okapi_model* model);

/// "follow" or a length in tokens at stack index `slot` (0: not given), as an option `rope_length`.
int64_t rope_length_option(lua_State* L, int slot);

}  // namespace okapi::lua
