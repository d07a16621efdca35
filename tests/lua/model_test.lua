local okapi = require "okapi"
local t = require "harness"

t.test("a model says its numbers", function()
  local model <close> = okapi.model(t.model_path)
  local info = model:info()
  -- models/savanna-5m/config.json
  t.equal(info.n_layers, 6)
  t.equal(info.d_model, 256)
  t.equal(info.n_heads, 4)
  t.equal(info.vocab_size, 1024)
  t.equal(info.trained_length, 512)
  t.equal(info.base, 1100.0)
  t.equal(info.bos_id, 1)
  t.equal(math.type(info.n_parameters), "integer")
  t.equal(model:describe().sha256 ~= nil, true)
end)

t.test("weights can be kept in either type", function()
  local wide <close> = okapi.model(t.model_path, { dtype = "f32" })
  local narrow <close> = okapi.model(t.model_path, { dtype = "bf16", tokenizer = false })
  t.equal(wide:info().dtype, "f32")
  t.equal(narrow:info().dtype, "bf16")
  t.equal(narrow:info().has_tokenizer, false)
  t.fails("tokenizer", narrow.tokenizer, narrow)
  t.fails("unknown dtype 'f8'", okapi.model, t.model_path, { dtype = "f8" })
end)

t.test("a missing folder is an error that names it", function()
  local failure = t.fails("no/such/model", okapi.model, "no/such/model")
  t.equal(failure.code, "NOT_FOUND")
end)

local shape = {
  architectures = { "LlamaForCausalLM" }, model_type = "llama", hidden_size = 32, num_hidden_layers = 2,
  num_attention_heads = 4, num_key_value_heads = 2, intermediate_size = 64, vocab_size = 100,
  max_position_embeddings = 64, rms_norm_eps = 1e-5, rope_theta = 10000.0, hidden_act = "silu",
  tie_word_embeddings = true,
}

t.test("random weights are the seed's", function()
  local function logits(seed)
    local model <close> = okapi.model { random = shape, seed = seed }
    return model:session():prefill { 1, 2, 3 }:table()
  end
  local first = logits(7)
  t.equal(#first, 100)
  t.same_list(logits(7), first, "logits")
  assert(logits(8)[1] ~= first[1], "another seed gives the same weights")
end)

t.test("a configuration may be text as well", function()
  local model <close> = okapi.model { random = okapi.json.encode(shape), seed = 7 }
  t.equal(model:info().vocab_size, 100)
  t.fails("path: wanted a string, found nothing", okapi.model)
  t.fails("option 'random' is missing", okapi.model, { seed = 7 })
end)

t.test("a closed model refuses and says so", function()
  local model = okapi.model { random = shape }
  local session = model:session()
  model:close()
  model:close()
  assert(tostring(model):find("closed", 1, true))
  t.equal(t.fails("the model is closed", model.info, model).code, "FAILED_PRECONDITION")
  t.fails("the session's model is closed", session.prefill, session, { 1, 2 })
  t.equal(session:n_tokens(), 0)
end)

t.test("progress is heard and may stop the loading", function()
  local stages = {}
  okapi.model(t.model_path, { progress = function(p) stages[#stages + 1] = p.stage end })
  assert(#stages > 0, "nothing was heard")
  local failure = t.fails("", okapi.model, t.model_path, { progress = function() return false end })
  t.equal(failure.code, "CANCELLED")
  failure = t.fails("my own words", okapi.model, t.model_path, { progress = function() error("my own words") end })
  t.equal(type(failure), "string")
end)

t.test("a progress function must not call okapi", function()
  t.fails("a progress function must not call okapi", okapi.model, t.model_path,
    { progress = function() okapi.model(t.model_path) end })
end)

t.test("a requested token cancels, and can be used again", function()
  local token = okapi.cancel()
  token:request()
  t.equal(token:requested(), true)
  t.equal(t.fails("", okapi.model, t.model_path, { cancel = token }).code, "CANCELLED")
  token:reset()
  okapi.model(t.model_path, { cancel = token }):close()
end)

t.run()
