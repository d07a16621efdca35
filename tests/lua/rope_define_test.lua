-- Schemes written in Lua.
local okapi = require "okapi"
local t = require "harness"

local model = okapi.model(t.model_path)
local info = model:info()

local function divided(geometry)
  local inv_freq = {}
  for pair, frequency in ipairs(geometry.inv_freq) do inv_freq[pair] = frequency / geometry.params.scale end
  return { inv_freq = inv_freq }
end

okapi.rope.define("lua_linear", { scale = { default = 4.0, min = 1, help = "divides every frequency" } }, divided)

t.test("a scheme written in Lua gives the logits of the same one written in C++", function()
  local ids = model:tokenizer():encode("line keen-bucket: REGISTER_CONTENT is <33185>\n", { bos = true })
  local mine = model:session({ rope = "lua_linear:scale=4" }):prefill(ids)
  local theirs = model:session({ rope = "linear:scale=4" }):prefill(ids)
  t.same_list(mine, theirs, "logits")
end)

t.test("parameters have defaults, are checked, and are listed", function()
  t.near(model:rope("lua_linear"):table().inv_freq[1], 0.25, 1e-15)
  t.near(model:rope("lua_linear:scale=2"):table().inv_freq[1], 0.5, 1e-15)
  t.fails("scale", model.rope, model, "lua_linear:scale=0.5")
  t.fails("factor", model.rope, model, "lua_linear:factor=2")
  assert(model:rope("lua_linear"):canonical():find("lua_linear:scale=4", 1, true))
end)

t.test("schemes compose: each is given the table so far", function()
  t.near(model:rope("linear:scale=2 | lua_linear:scale=4"):table().inv_freq[1], 1 / 8, 1e-15)
end)

t.test("the geometry is the model's", function()
  local seen
  okapi.rope.define("lua_seen", nil, function(geometry)
    seen = geometry
    return {}
  end)
  local plain = model:rope("plain"):table()
  t.same_list(model:rope("lua_seen"):table().inv_freq, plain.inv_freq, "inv_freq")
  t.equal(seen.head_dim, info.head_dim)
  t.equal(seen.n_pairs, info.head_dim // 2)
  t.equal(seen.base, info.base)
  t.equal(seen.trained_length, info.trained_length)
  t.equal(seen.n_layers, info.n_layers)
  t.equal(seen.phase, "evaluate")
  t.fails("geometry has no field 'headdim'", function() return seen.headdim end)
end)

t.test("gain and temperature are taken over", function()
  okapi.rope.define("lua_sharp", nil, function() return { rotation_gain = 1.25, attention_temperature = 0.5 } end)
  local found = model:rope("lua_sharp"):table()
  t.equal(found.rotation_gain, 1.25)
  t.equal(found.attention_temperature, 0.5)
end)

t.test("the length is seen by a scheme that says it depends on it, and by no other", function()
  okapi.rope.define("lua_blind", nil, function(geometry) return { rotation_gain = geometry.target_length } end)
  t.fails("depends_on_length = true", function() model:rope("lua_blind"):table() end)
  okapi.rope.define("lua_long", nil, function(geometry)
    return { rotation_gain = geometry.target_length / geometry.trained_length }
  end, { depends_on_length = true })
  t.near(model:rope("lua_long"):table({ length = 2048 }).rotation_gain, 4, 1e-15)
  okapi.rope.define("lua_ratio", { scale = { from_model = "length_ratio", min = 1 } }, divided)
  t.near(model:rope("lua_ratio"):table({ length = 2048 }).inv_freq[1], 0.25, 1e-15)
end)

t.test("an error in the function becomes an okapi error with its message", function()
  okapi.rope.define("lua_broken", nil, function() error("the moon is in the wrong house") end)
  local failure = t.fails("the moon is in the wrong house", function() model:rope("lua_broken"):table() end)
  assert(failure.message:find("lua_broken", 1, true), "it does not name the scheme: " .. failure.message)
  assert(failure.message:find("rope_define_test.lua:%d+"), "it does not say where: " .. failure.message)
end)

t.test("a wrong answer is refused, saying what was wanted", function()
  local answers = {
    { { inv_freq = { 1, 2 } }, ("wanted %d numbers, found 2"):format(info.head_dim // 2) },
    { { inv_freqs = {} }, "unknown field 'inv_freqs'" },
    { { 1.0, 0.5 }, "wanted a table with inv_freq, found a list" },
    { { rotation_gain = "big" }, "rotation_gain: wanted a number, found string" },
    { 5, "wanted a table with inv_freq, found number" },
    { { rotation_gain = 0 / 0 }, "" }, -- okapi's own check
  }
  for i, case in ipairs(answers) do
    local name = "lua_wrong_" .. i
    okapi.rope.define(name, nil, function() return case[1] end)
    t.fails(case[2], function() model:rope(name):table() end)
  end
end)

t.test("a scheme may give positions", function()
  okapi.rope.define("lua_twice", nil, {
    positions = function(_, n)
      local positions = okapi.array(n)
      for i = 1, n do positions[i] = 2 * (i - 1) end
      return positions
    end,
  })
  local ids = { 1, 5, 6, 7, 8, 9 }
  local mine = model:session({ rope = "lua_twice", rope_length = 6 }):prefill(ids)
  local theirs = model:session({ rope = "plain", positions = { 0, 2, 4, 6, 8, 10 } }):prefill(ids)
  t.same_list(mine, theirs, "logits")
end)

t.test("drawn positions are the same when they are drawn again", function()
  okapi.rope.define("lua_drawn", nil, {
    positions = function(_, n, draw)
      local positions, at = {}, 0
      for i = 1, n do
        positions[i] = at
        at = at + draw:uniform_int(1, 3) + draw:uniform()
      end
      return positions
    end,
  })
  local ids = { 1, 5, 6, 7, 8, 9 }
  local function logits(seed)
    return model:session({ rope = "lua_drawn", rope_length = 6, seed = seed }):prefill(ids):table()
  end
  t.same_list(logits(3), logits(3), "logits")
end)

t.test("a scheme may give magnitudes, and then agrees with xpos", function()
  -- xPos: zeta_i = (2i + gamma d) / ((1 + gamma) d); q grows and k shrinks with the position.
  okapi.rope.define("lua_xpos", { scale_base = 512.0, gamma = 0.4 }, {
    log_magnitude = function(geometry, positions)
      local q, k = {}, {}
      local d, gamma = geometry.head_dim, geometry.params.gamma
      for _, position in ipairs(positions) do
        for pair = 0, geometry.n_pairs - 1 do
          local zeta = (2 * pair + gamma * d) / ((1 + gamma) * d)
          local log = position / geometry.params.scale_base * math.log(zeta)
          q[#q + 1], k[#k + 1] = log, -log
        end
      end
      return q, k
    end,
  })
  local ids = model:tokenizer():encode("line keen-bucket: REGISTER_CONTENT is <33185>\n", { bos = true })
  local mine = model:session({ rope = "lua_xpos" }):prefill(ids)
  local theirs = model:session({ rope = "xpos:scale_base=512,gamma=0.4" }):prefill(ids)
  for i = 1, #mine do t.near(mine[i], theirs[i], 1e-4, "logit") end
end)

t.test("a name is taken once, and must be a word", function()
  t.equal(t.fails("lua_linear", okapi.rope.define, "lua_linear", nil, divided).code, "ALREADY_EXISTS")
  t.fails("", okapi.rope.define, "two words", nil, divided)
  t.fails("wanted a function or a table", okapi.rope.define, "lua_nothing", nil, nil)
  t.fails("at least one of table, positions, log_magnitude", okapi.rope.define, "lua_empty", nil, {})
  t.fails("unknown option 'depends'", okapi.rope.define, "lua_option", nil, divided, { depends = true })
end)

t.test("a scheme must not call okapi", function()
  okapi.rope.define("lua_caller", nil, function()
    model:rope("plain")
    return {}
  end)
  t.fails("a scheme's function must not call okapi", function() model:rope("lua_caller"):table() end)
end)

t.test("schemes work in coroutines", function()
  local inv_freq = coroutine.wrap(function() return model:rope("lua_linear"):table().inv_freq[1] end)()
  t.near(inv_freq, 0.25, 1e-15)
end)

t.test("a scheme that holds its own runtime is collected with it", function()
  local gone = setmetatable({}, { __mode = "k" })
  do
    local runtime = okapi.runtime { threads = 1 }
    okapi.rope.define("lua_cycle", nil, function() return { rotation_gain = runtime and 1 } end, { runtime = runtime })
    gone[runtime] = true
  end
  collectgarbage()
  collectgarbage()
  t.equal(next(gone), nil)
end)

t.run()
