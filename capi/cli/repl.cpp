// okapi repl: Lua, line by line.
#include <cstdio>
#include <cstring>
#include <iostream>
#include <string>

#include <unistd.h>

#include "capi/cli/command.h"
#include "capi/cli/interrupt.h"
#include "capi/cli/lua_host.h"

namespace okapi::cli {

namespace {

enum class Read { line, dropped, end };

// A Ctrl-C at the prompt drops the line that was begun and touches nothing that comes after.
Read read_line(bool is_terminal, const char* prompt, std::string& line) {
  if (!is_terminal) return std::getline(std::cin, line) ? Read::line : Read::end;
  std::fputs(prompt, stdout);
  std::fflush(stdout);
  const InterruptibleRead interruptible;
  if (!is_interrupted()) std::getline(std::cin, line);
  const bool is_dropped = is_interrupted();
  if (is_dropped) {
    clear_interrupt();
    std::clearerr(stdin);  // the read failed, which is not the end
    std::cin.clear();
    std::fputc('\n', stdout);
  }
  return is_dropped ? Read::dropped : std::cin ? Read::line : Read::end;
}

enum class Loaded { complete, incomplete, wrong };

// Leaves the compiled chunk, or the message, on the stack.
Loaded load_chunk(lua_State* L, const std::string& chunk) {
  const std::string as_expression = "return " + chunk;
  if (luaL_loadbuffer(L, as_expression.data(), as_expression.size(), "=stdin") == LUA_OK) {
    return Loaded::complete;
  }
  lua_pop(L, 1);
  if (luaL_loadbuffer(L, chunk.data(), chunk.size(), "=stdin") == LUA_OK) return Loaded::complete;
  const char* message = lua_tostring(L, -1);
  const std::string_view text = message == nullptr ? "" : message;
  return text.ends_with("<eof>") ? Loaded::incomplete : Loaded::wrong;
}

// Calls the global `print`; of a table that has no text of its own it shows what is in it.
constexpr const char* kShow = R"(
local encode = okapi.json.encode
return function(...)
  local shown = table.pack(...)
  for i = 1, shown.n do
    local value = shown[i]
    if type(value) == "table" and not (getmetatable(value) or {}).__tostring then
      local is_json, text = pcall(encode, value, 2)
      if is_json then shown[i] = text end
    end
  end
  print(table.unpack(shown, 1, shown.n))
end
)";

// Prints what a chunk returned.
int print_results(LuaHost& lua) {
  lua_State* L = lua.state();
  const int n_results = lua_gettop(L);
  if (n_results == 0) return kExitOk;
  lua_rawgetp(L, LUA_REGISTRYINDEX, kShow);
  lua_insert(L, 1);
  return lua.call(n_results, 0);
}

int run_chunk(LuaHost& lua, const std::string& first_line, bool is_terminal) {
  lua_State* L = lua.state();
  std::string chunk = first_line;
  Loaded loaded = load_chunk(L, chunk);
  std::string more;
  while (loaded == Loaded::incomplete) {
    const Read read = read_line(is_terminal, ">> ", more);
    if (read == Read::dropped) return kExitOk;
    if (read == Read::end) break;
    lua_settop(L, 0);
    chunk += "\n" + more;
    loaded = load_chunk(L, chunk);
  }
  if (loaded != Loaded::complete) {
    std::fprintf(stderr, "okapi: %s\n", lua_tostring(L, -1));
    return kExitFailure;
  }
  const int code = lua.call(0, LUA_MULTRET);
  return code == kExitOk ? print_results(lua) : code;
}

// Piped input stops at Ctrl-C; at a terminal only the line does.
int run_repl(const RuntimeArguments& runtime) {
  LuaHost lua(runtime);
  const bool is_terminal = isatty(STDIN_FILENO) != 0;
  lua_State* L = lua.state();
  if (luaL_dostring(L, "okapi = require 'okapi'") != LUA_OK) {
    throw Failure(OKAPI_INTERNAL, lua_tostring(L, -1));
  }
  if (luaL_dostring(L, kShow) != LUA_OK) throw Failure(OKAPI_INTERNAL, lua_tostring(L, -1));
  lua_rawsetp(L, LUA_REGISTRYINDEX, kShow);
  if (is_terminal) {
    std::printf("okapi %s, %s. The module is the global `okapi`; Ctrl-D ends.\n",
                okapi_version_string(), LUA_RELEASE);
  }
  int exit_code = kExitOk;
  std::string line;
  for (Read read; (read = read_line(is_terminal, "> ", line)) != Read::end;) {
    if (read == Read::dropped) continue;
    lua_settop(L, 0);
    const int code = run_chunk(lua, line, is_terminal);
    std::fflush(stdout);
    if (is_terminal) {
      clear_interrupt();
      continue;
    }
    if (code != kExitOk) exit_code = code;
    if (code == kExitInterrupted) return code;
  }
  if (is_terminal) std::fputc('\n', stdout);
  return exit_code;
}

}  // namespace

void add_repl(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("repl", "Lua, line by line");
  command->footer(
      "Reads Lua from standard input and prints what each line is worth; the module is the global "
      "`okapi`.\n"
      "Piped, it prints no prompts, and exits with 1 if a line failed. At a terminal, Ctrl-C stops "
      "the call\n"
      "that runs and Ctrl-D ends; rlwrap adds a history and line editing.\n"
      "\n"
      "Examples:\n"
      "  rlwrap okapi repl\n"
      "  echo 'okapi.version()' | okapi repl");
  auto runtime = std::make_shared<RuntimeArguments>();
  runtime->add_to(*command);
  command->callback([runtime, exit_code] { *exit_code = run_repl(*runtime); });
}

}  // namespace okapi::cli
