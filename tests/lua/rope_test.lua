local okapi = require "okapi"
local t = require "harness"

local model = okapi.model(t.model_path)
local info = model:info()

-- base^(-2i/head_dim), as every paper has it.
local function plain_frequency(pair) return info.base ^ (-2 * (pair - 1) / info.head_dim) end

t.test("plain and linear give their formulas", function()
  local plain = model:rope("plain"):table()
  local linear = okapi.rope(model, "linear:scale=4"):table()
  t.equal(#plain.inv_freq, info.head_dim // 2)
  for pair = 1, #plain.inv_freq do
    t.near(plain.inv_freq[pair], plain_frequency(pair), 1e-12)
    t.near(linear.inv_freq[pair], plain_frequency(pair) / 4, 1e-12)
  end
  t.equal(plain.rotation_gain, 1.0)
  t.equal(plain.attention_temperature, 1.0)
end)

t.test("YaRN's gain is 0.1 ln(scale) + 1", function()
  t.near(model:rope("yarn:scale=4"):table().rotation_gain, 0.1 * math.log(4) + 1, 1e-12)
end)

t.test("the canonical spec reads back as itself", function()
  local canonical = model:rope("yarn:scale=4 | truncated:length=2048"):canonical()
  t.equal(model:rope(canonical):canonical(), canonical)
end)

t.test("without a model a shape serves", function()
  local rope = okapi.rope.for_shape { spec = "plain", head_dim = 8, trained_length = 2048 }
  -- giraffe.md 1.15: base 10000, head_dim 8
  local wanted = { 1, 0.1, 0.01, 0.001 }
  local table_of_rope = rope:table()
  for pair = 1, 4 do t.near(table_of_rope.inv_freq[pair], wanted[pair], 1e-12) end
  t.fails("option 'head_dim' is missing", okapi.rope.for_shape, { spec = "plain", trained_length = 4 })
end)

t.test("a length changes what depends on it", function()
  local rope = model:rope("dynamic_ntk:scale=4")
  local short, long = rope:table { length = 512 }, rope:table { length = 2048 }
  local last = info.head_dim // 2
  t.near(short.inv_freq[last], plain_frequency(last), 1e-12)
  -- The last pair is divided by exactly 4 * 2048/512 - 3.
  t.near(long.inv_freq[last], plain_frequency(last) / 13, 1e-12)
end)

t.test("explain tells pairs, parameters and decay", function()
  local about = model:rope("linear:scale=4"):explain(2048)
  t.equal(#about.pairs, info.head_dim // 2)
  t.near(about.pairs[1].turns_target, 2048 / 4 / (2 * math.pi), 1e-9)
  t.equal(about.schemes[1].parameters.scale.source, "given")
end)

t.test("mistakes in a spec are named", function()
  t.equal(t.fails("yarm", model.rope, model, "yarm").code, "NOT_FOUND")
  t.fails("scael", model.rope, model, "yarn:scael=4")
  t.fails("wanted a string, found 4", okapi.rope, model, 4)
  t.fails("wanted a spec or a rope", model.session, model, { rope = 4 })
end)

t.run()
