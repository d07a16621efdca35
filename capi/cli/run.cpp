// okapi run: a Lua script with the okapi module at hand.
#include "capi/cli/command.h"
#include "capi/cli/interrupt.h"
#include "capi/cli/lua_host.h"

namespace okapi::cli {

static int run_script(const RuntimeArguments& runtime, const std::string& script,
                      const std::vector<std::string>& arguments) {
  LuaHost lua(runtime);
  lua.set_arguments(script, arguments);
  lua_State* L = lua.state();
  if (luaL_loadfile(L, script == "-" ? nullptr : script.c_str()) != LUA_OK) {
    throw Failure(OKAPI_INVALID_ARGUMENT, lua_tostring(L, -1));
  }
  if (!lua_checkstack(L, static_cast<int>(arguments.size()) + 8)) throw std::bad_alloc();
  for (const std::string& argument : arguments)
    lua_pushlstring(L, argument.data(), argument.size());
  return lua.call(static_cast<int>(arguments.size()), 0);
}

// CLI11 does not know SCRIPT and ARGUMENTS, which are all that remains after our own options.
class RunFormatter : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* command, std::string name) const override {
    std::string usage = CLI::Formatter::make_usage(command, std::move(name));
    usage.erase(usage.find_last_not_of('\n') + 1);
    return usage + " SCRIPT [ARGUMENTS...]\n";
  }
};

void add_run(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("run", "Runs a Lua script");
  command->formatter(std::make_shared<RunFormatter>());
  command->footer(
      "SCRIPT       a Lua 5.4 script, or - for standard input; `require \"okapi\"` gives the "
      "module\n"
      "ARGUMENTS    the script's own, in its table `arg`; options of okapi stand before SCRIPT\n"
      "\n"
      "Ctrl-C stops the call that runs; finished samples are kept, and the exit code is 130.\n"
      "\n"
      "Example:\n"
      "  okapi run --threads 2 scripts/experiments/rope_retrieval.lua --samples 24");
  auto runtime = std::make_shared<RuntimeArguments>();
  runtime->add_to(*command);
  command->prefix_command();  // what follows the first word that is not ours is the script's
  command->callback([command, runtime, exit_code] {
    std::vector<std::string> words = command->remaining();
    if (words.empty()) throw UsageError("run: SCRIPT is missing");
    const std::string script = words.front();
    if (script.size() > 1 && script.front() == '-')
      throw UsageError("run: unknown option " + script);
    words.erase(words.begin());
    *exit_code = run_script(*runtime, script, words);
  });
}

}  // namespace okapi::cli
