// session:generate(), and what it shares with the other methods of a session.
#pragma once

#include <string>
#include <vector>

#include "capi/lua/state.h"

namespace okapi::lua {

/// The model of the session at stack index `index`. Throws if the script closed it.
okapi_model* model_of_session(lua_State* L, int index);

int64_t vocab_size_of(const okapi_model* model);

/// Ids at `index`, or a text's, for the session at stack index `session`; BOS first if it is empty.
std::vector<int32_t> prompt_at(lua_State* L, int index, int session = 1);

/// Several sessions, each with its tokens, for calls that take them together.
struct SessionBatch {
  std::vector<okapi_session*> sessions;
  std::vector<std::vector<int32_t>> tokens;
  std::vector<const int32_t*> token_pointers;  ///< to `tokens`, which must stay
  std::vector<int64_t> n_tokens;
};
/// From the tables of sessions and of their tokens at stack indices 1 and 2, for the function
/// `caller`, where a text stands for its ids only if it `takes_text`.
SessionBatch session_batch(lua_State* L, const std::string& caller, bool takes_text);

int session_generate(lua_State* L);
/// okapi.generate: several sessions at once.
int generate_batch(lua_State* L);

}  // namespace okapi::lua
