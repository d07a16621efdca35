// session:generate(), and what it shares with the other methods of a session.
#pragma once

#include <vector>

#include "capi/lua/state.h"

namespace okapi::lua {

/// The model of the session at stack index `index`. Throws if the script closed it.
okapi_model* model_of_session(lua_State* L, int index);

int64_t vocab_size_of(const okapi_model* model);

/// Ids at `index`, or a text's, for the session at stack index `session`; BOS first if it is empty.
std::vector<int32_t> prompt_at(lua_State* L, int index, int session = 1);

int session_generate(lua_State* L);
/// okapi.generate: several sessions at once.
int generate_batch(lua_State* L);

}  // namespace okapi::lua
