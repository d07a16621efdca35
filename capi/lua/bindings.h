// Every noun's part of the module: open_x(L) makes its types and adds its functions to the module's
// table, which is on top of the stack. They run while the module opens and may raise.
#pragma once

#include <lua.hpp>

namespace okapi::lua {

void open_adapter(lua_State* L);
void open_array(lua_State* L);
void open_cancel(lua_State* L);
void open_dataset(lua_State* L);
void open_delta(lua_State* L);
void open_evaluation(lua_State* L);
void open_json(lua_State* L);
void open_model(lua_State* L);
void open_results(lua_State* L);
void open_rope(lua_State* L);
void open_rope_scheme(lua_State* L);  // after open_rope
void open_runtime(lua_State* L);
void open_session(lua_State* L);
void open_task(lua_State* L);
void open_tokenizer(lua_State* L);
void open_trainer(lua_State* L);

// Methods of a model that other nouns provide.
int model_adapter(lua_State* L);
int model_restore(lua_State* L);  // a session
int model_rope(lua_State* L);
int model_session(lua_State* L);
int model_tokenizer(lua_State* L);

}  // namespace okapi::lua
