local okapi = require "okapi"
local t = require "harness"

local model = okapi.model(t.model_path)
local tokenizer = model:tokenizer()
local prompt = "line keen-bucket: REGISTER_CONTENT is <33185>\n" ..
  "line rough-pillow: REGISTER_CONTENT is <13724>\n" ..
  "What is the REGISTER_CONTENT in line keen-bucket? <"
local ids = tokenizer:encode(prompt, { bos = true })

local function nearly_same(found, wanted)
  local largest = 0
  for i = 1, #wanted do largest = math.max(largest, math.abs(wanted[i])) end
  for i = 1, #wanted do t.near(found[i], wanted[i], 1e-4 * largest, "logit " .. i) end
end

t.test("the model answers within its trained length", function()
  local answer = model:session():generate(prompt, { max_tokens = 16, stop = ">" })
  t.equal(answer.text, "33185>")
  t.equal(answer.stop, "text")
  t.equal(tokenizer:decode(answer.ids), "33185>")
end)

t.test("chunks, then single tokens, give the logits of one pass", function()
  local whole = model:session({ rope_length = #ids }):prefill(ids)
  local session = model:session { rope_length = #ids, prefill_chunk = 7 }
  session:prefill(table.move(ids, 1, 20, 1, {}))
  local logits
  for i = 21, #ids do logits = session:decode(ids[i]) end
  nearly_same(logits, whole)
  t.same_list(session:tokens(), ids, "tokens")
end)

t.test("text and ids are the same prompt", function()
  t.same_list(model:session():prefill(prompt), model:session():prefill(ids), "logits")
  t.same_list(model:session():prefill(okapi.array(ids, "i32")), model:session():prefill(ids), "logits")
end)

t.test("scores are the log-losses of the logits' rows", function()
  local nll, logits = model:session():score(ids, { logits = true })
  t.equal(#nll, #ids)
  assert(nll[1] ~= nll[1], "nothing predicts the first token")
  t.equal(#logits, #ids * 1024)
  for _, i in ipairs { 2, 10, #ids } do
    local row = logits:row(i - 1)
    local _, largest = row:argmax()
    local sum = 0
    for j = 1, #row do sum = sum + math.exp(row[j] - largest) end
    t.near(nll[i], math.log(sum) + largest - row[ids[i] + 1], 1e-4, "loss")
  end
end)

t.test("a fork goes its own way", function()
  local first = model:session { rope_length = 200 }
  first:prefill(ids)
  local second <close> = first:fork()
  local logits = first:decode(10)
  second:decode(11)
  second:decode(12)
  t.equal(first:n_tokens(), #ids + 1)
  t.equal(second:n_tokens(), #ids + 2)
  second:truncate(#ids)
  nearly_same(second:decode(10), logits)
end)

t.test("a saved session goes on where it was", function()
  local path = t.folder .. "/session.safetensors"
  local session = model:session { rope = "yarn:scale=4", rope_length = 300 }
  session:prefill(ids)
  session:save(path)
  local restored <close> = model:restore(path)
  t.same_list(restored:tokens(), ids, "tokens")
  t.equal(restored:describe().rope.spec, session:describe().rope.spec)
  nearly_same(restored:decode(10), session:decode(10))
end)

t.test("a batch gives what each gives alone", function()
  local short = table.move(ids, 1, 10, 1, {})
  local a, b = model:session { rope_length = 100 }, model:session { rope_length = 100, rope = "linear:scale=2" }
  local together = okapi.advance({ a, b }, { ids, short })
  nearly_same(together[1], model:session({ rope_length = 100 }):prefill(ids))
  nearly_same(together[2], model:session({ rope_length = 100, rope = "linear:scale=2" }):prefill(short))
  t.fails("as many lists of tokens as sessions", okapi.advance, { a, b }, { ids })
end)

t.test("several generate at once what each generates alone", function()
  local short = table.move(ids, 1, 10, 1, {})
  local options = { max_tokens = 6, ignore_eos = true }
  local alone = model:session({ rope = "linear:scale=2" }):generate(short, options)
  local a, b = model:session(), model:session { rope = "linear:scale=2" }
  local together = okapi.generate({ a, b }, { ids, short }, options)
  t.equal(#together, 2)
  t.same_list(together[1].ids, model:session():generate(ids, options).ids, "ids")
  t.same_list(together[2].ids, alone.ids, "ids")
  t.equal(together[2].stop, "length")
  t.equal(a:n_tokens(), #ids + 6)
  t.fails("generate: wanted as many lists of tokens as sessions", okapi.generate, { a, b }, { ids })
  t.fails("on_token", okapi.generate, { a }, { ids }, { on_token = print })
  t.fails("tokens[1]", okapi.advance, { a }, { "a text" })
end)

t.test("deterministic sessions get the same to the bit in any batch", function()
  local short = table.move(ids, 1, 10, 1, {})
  local function in_batch(n_others)
    local sessions, tokens = { model:session { deterministic = true } }, { ids }
    for i = 1, n_others do sessions[i + 1], tokens[i + 1] = model:session { deterministic = true }, short end
    okapi.advance(sessions, tokens)
    for i = 1, n_others + 1 do tokens[i] = { 20 + i } end
    return okapi.advance(sessions, tokens)[1]
  end
  t.equal(model:session({ deterministic = true }):describe().deterministic, true)
  local alone = in_batch(0)
  for _, n_others in ipairs { 1, 3, 15 } do
    local logits = in_batch(n_others)
    for i = 1, #alone do assert(logits[i] == alone[i], "logit " .. i .. " beside " .. n_others .. " others") end
  end
end)

t.test("positions may be a table or an array", function()
  local positions = {}
  for i = 1, #ids do positions[i] = (i - 1) * 1.5 end
  local from_table = model:session({ positions = positions }):prefill(ids)
  local from_array = model:session({ positions = okapi.array(positions) }):prefill(ids)
  t.same_list(from_table, from_array, "logits")
  local too_few = model:session { positions = { 0, 1, 2 } }
  t.equal(t.fails("", too_few.prefill, too_few, ids).code, "OUT_OF_RANGE")
end)

t.test("sampling is the seed's", function()
  local function sampled(seed)
    local options = { max_tokens = 12, temperature = 1, top_k = 50, top_p = 0.95, seed = seed }
    return model:session():generate("The lion", options).ids
  end
  t.same_list(sampled(5), sampled(5), "ids")
end)

t.test("tokens are heard one by one, and the listener may stop", function()
  local heard, texts = {}, {}
  local answer = model:session():generate(prompt, {
    max_tokens = 8, ignore_eos = true,
    on_token = function(id, text)
      heard[#heard + 1], texts[#texts + 1] = id, text
    end,
  })
  t.same_list(heard, answer.ids, "ids")
  t.equal(table.concat(texts), answer.text)
  local stopped = model:session():generate(prompt, {
    max_tokens = 8, on_token = function() return false end,
  })
  t.equal(#stopped.ids, 1)
  t.equal(stopped.stop, "callback")
end)

t.test("an error in the listener comes out as it is", function()
  local session = model:session()
  local thrown = { code = 7 }
  local ok, failure = pcall(session.generate, session, prompt, { on_token = function() error(thrown) end })
  t.equal(ok, false)
  t.equal(failure, thrown)
end)

t.test("a follower gives what a session of that length gives", function()
  local follower = model:session { rope = "dynamic_ntk:scale=4", rope_length = "follow" }
  follower:prefill(table.move(ids, 1, #ids - 1, 1, {}))
  local logits = follower:decode(ids[#ids])
  nearly_same(logits, model:session({ rope = "dynamic_ntk:scale=4", rope_length = #ids }):prefill(ids))
end)

t.test("mistakes are named", function()
  local session = model:session()
  t.fails("unknown option 'maxtokens' (did you mean 'max_tokens'?)", session.generate, session, ids, { maxtokens = 1 })
  t.fails("max_tokens: must be at least 1", session.generate, session, ids, { max_tokens = 0 })
  t.fails("rope_length: wanted a length in tokens or 'follow'", model.session, model, { rope_length = "all" })
  t.fails("tokens[2]: wanted an integer", session.prefill, session, { 1, "2" })
  t.equal(t.fails("", session.prefill, session, { 99999 }).code, "INVALID_ARGUMENT")
  t.fails("session: wanted an okapi.session, found a table", session.prefill, {}, ids)
  t.fails("unknown option 'ropes'", model.session, model, { ropes = "plain" })
end)

t.run()
