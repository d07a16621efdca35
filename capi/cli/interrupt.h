// Ctrl-C: the first one asks the running call to stop, so that finished work is kept; the second
// one ends the program.
#pragma once

#include "capi/lua/embed.h"

namespace okapi::cli {

/// The process's interrupt, with the handler installed on first use.
lua::Interrupt& interrupt();

/// Whether Ctrl-C was pressed.
bool is_interrupted();

/// Makes everything usable again, as the repl does after each line.
void clear_interrupt();

/// While it lives, Ctrl-C makes a read that waits fail instead of going on waiting.
class InterruptibleRead {
 public:
  InterruptibleRead();
  ~InterruptibleRead();
  InterruptibleRead(const InterruptibleRead&) = delete;
  InterruptibleRead& operator=(const InterruptibleRead&) = delete;
};

/// Has the handler also stop the Lua code that runs in `L` (null: none).
void set_interrupted_lua(lua_State* L);

}  // namespace okapi::cli
