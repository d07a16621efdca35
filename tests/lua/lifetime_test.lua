-- Objects may be collected in any order, at any time.
local okapi = require "okapi"
local t = require "harness"

local shape = {
  architectures = { "LlamaForCausalLM" }, model_type = "llama", hidden_size = 32, num_hidden_layers = 2,
  num_attention_heads = 4, num_key_value_heads = 2, intermediate_size = 64, vocab_size = 100,
  max_position_embeddings = 64, rms_norm_eps = 1e-5, rope_theta = 10000.0, hidden_act = "silu",
  tie_word_embeddings = true,
}

t.test("a session outlives all it came from", function()
  local session
  do
    local runtime = okapi.runtime { threads = 1 }
    local model = okapi.model { random = shape, runtime = runtime }
    session = model:session { rope = model:rope("linear:scale=2") }
  end
  collectgarbage()
  t.equal(#session:prefill { 1, 2, 3 }, 100)
end)

t.test("any order of closing is fine", function()
  local permutations = { { 1, 2, 3, 4 }, { 4, 3, 2, 1 }, { 2, 4, 1, 3 }, { 3, 1, 4, 2 } }
  for _, order in ipairs(permutations) do
    local runtime = okapi.runtime { threads = 1 }
    local model = okapi.model { random = shape, runtime = runtime }
    local rope = model:rope("linear:scale=2")
    local objects = { runtime, model, rope, model:session { rope = rope } }
    objects[4]:prefill { 1, 2 }
    for _, i in ipairs(order) do objects[i]:close() end
    for _, i in ipairs(order) do objects[i]:close() end
  end
  collectgarbage()
end)

t.test("a collector that runs all the time changes nothing", function()
  local model = okapi.model { random = shape, seed = 3 }
  okapi.rope.define("lua_gc", { scale = 2.0 }, function(geometry)
    collectgarbage()
    local inv_freq = {}
    for pair, frequency in ipairs(geometry.inv_freq) do inv_freq[pair] = frequency / geometry.params.scale end
    return { inv_freq = inv_freq }
  end)
  collectgarbage("generational")
  collectgarbage("incremental", 1, 1000)
  local wanted = model:session({ rope = "linear:scale=2" }):prefill { 1, 2, 3 }
  for _ = 1, 20 do
    local session = model:session { rope = "lua_gc" }
    collectgarbage("step")
    t.same_list(session:prefill { 1, 2, 3 }, wanted, "logits")
    session:generate({ 4 }, { max_tokens = 3, on_token = function() collectgarbage() end })
  end
  collectgarbage("incremental", 200, 100)
end)

t.test("<close> ends an object's use at the end of its block", function()
  local escaped
  do
    local model <close> = okapi.model { random = shape }
    escaped = model
  end
  t.fails("the model is closed", escaped.info, escaped)
end)

t.test("an error passes through <close>", function()
  t.fails("on the way", function()
    local model <close> = okapi.model { random = shape }
    model:session()
    error("on the way")
  end)
end)

t.test("metatables cannot be reached, and methods need their own kind", function()
  local model = okapi.model { random = shape }
  t.equal(getmetatable(model), false)
  t.fails("session: wanted an okapi.session, found an okapi.model", model:session().prefill, model, { 1 })
  t.fails("model: wanted an okapi.model, found nothing", model.info, nil)
end)

t.test("running out of memory inside a binding is an error, not a crash", function()
  t.equal(t.fails("", okapi.array, 1 << 39).message ~= nil or true, true)
  t.fails("cannot have -1 elements", okapi.array, -1)
end)

-- Left for lua_close(): objects of every kind, with functions that refer to them.
local left_model = okapi.model { random = shape }
okapi.rope.define("lua_left", nil, function() return { rotation_gain = left_model and 1 } end)
LEFT = { left_model, left_model:session { rope = "lua_left" }, left_model:rope("lua_left") } -- luacheck: ignore

t.run()
