local okapi = require "okapi"
local t = require "harness"

t.test("the version has three numbers, and the ABI two", function()
  local version, major, minor = okapi.version()
  assert(version:match("^%d+%.%d+%.%d+"))
  t.equal(math.type(major), "integer")
  t.equal(math.type(minor), "integer")
end)

t.test("a runtime says what it was given", function()
  local runtime <close> = okapi.runtime { threads = 1, backend = "cpu" }
  local about = runtime:describe()
  t.equal(about.n_threads, 1)
  t.equal(about.backend, "cpu")
end)

t.test("the default runtime is made once, and can be replaced", function()
  local first = okapi.default_runtime()
  t.equal(okapi.default_runtime(), first)
  local other = okapi.runtime { threads = 1 }
  t.equal(okapi.default_runtime(other), other)
  t.equal(okapi.default_runtime(), other)
  okapi.default_runtime(first)
end)

t.test("an unknown option is refused, with the nearest known one", function()
  local failure = t.fails("unknown option 'thread' (did you mean 'threads'?)", okapi.runtime, { thread = 2 })
  t.equal(failure.code, "INVALID_ARGUMENT")
  t.equal(failure.field, "thread")
  assert(failure.message:find("known are threads, backend", 1, true))
end)

t.test("an error says where it was made", function()
  local failure = t.fails("runtime_test.lua:", function() okapi.runtime { backend = 3 } end)
  t.equal(failure.message, "backend: wanted a string, found 3")
end)

t.test("a backend that is not there is an error of the C API", function()
  local failure = t.fails("abacus", okapi.runtime, { backend = "abacus" })
  t.equal(failure.code, "NOT_FOUND")
end)

t.test("records reach the log function on this thread", function()
  local records = {}
  local runtime <close> = okapi.runtime {
    log_level = "debug",
    log = function(record) records[#records + 1] = record end,
  }
  runtime:plugins()
  assert(#records > 0, "no record at level debug")
  for _, record in ipairs(records) do
    t.equal(type(record.component), "string")
    t.equal(type(record.message), "string")
    assert(({ trace = 1, debug = 1, info = 1, warn = 1, error = 1 })[record.level])
    assert(record.time > 1.7e9, "seconds since 1970")
  end
end)

t.test("a log function that fails does not fail the call", function()
  local runtime <close> = okapi.runtime { log_level = "debug", log = function() error("no") end }
  assert(runtime:plugins().plugins)
end)

t.test("the schemes that come with okapi are found", function()
  local names = {}
  for _, plugin in ipairs(okapi.default_runtime():plugins().plugins) do
    if plugin.kind == "rope" then names[plugin.name] = plugin end
  end
  for _, name in ipairs { "plain", "linear", "ntk", "dynamic_ntk", "yarn", "xpos" } do
    assert(names[name], name .. " is missing")
  end
  t.equal(okapi.plugin_info(names.yarn.file).id, names.yarn.id)
  assert(okapi.default_runtime():check_plugin(names.yarn.file).passed)
end)

t.test("ceilings are measured", function()
  local runtime <close> = okapi.runtime { threads = 1 }
  local flops, kernel = runtime:measure_matmul { m = 64, n = 64, k = 64 }
  assert(flops > 0 and type(kernel) == "string")
  assert(runtime:measure_bandwidth(1 << 24) > 0)
  assert(runtime:measure_attention { n_tokens = 64, n_heads = 4, n_kv_heads = 2, head_dim = 16 } > 0)
  t.fails("option 'k' is missing", runtime.measure_matmul, runtime, { m = 1, n = 1 })
end)

t.run()
