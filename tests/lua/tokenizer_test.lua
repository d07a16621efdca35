local okapi = require "okapi"
local t = require "harness"

local model = okapi.model(t.model_path)
local tokenizer = model:tokenizer()

t.test("decoding what was encoded gives the text back", function()
  for _, text in ipairs { "line keen-bucket: REGISTER_CONTENT is <33185>\n", "", "naïve 日本 \0 end" } do
    t.equal(tokenizer:decode(tokenizer:encode(text)), text)
  end
end)

t.test("BOS comes first when it is asked for, and is no text", function()
  local plain = tokenizer:encode "a lion"
  local with_bos = tokenizer:encode("a lion", { bos = true })
  t.equal(with_bos[1], model:info().bos_id)
  t.same_list(table.move(with_bos, 2, #with_bos, 1, {}), plain)
  t.equal(tokenizer:decode(with_bos), "a lion")
  t.equal(tokenizer:count("a lion", { bos = true }), #with_bos)
end)

t.test("a tokenizer can be opened by itself", function()
  local alone <close> = okapi.tokenizer(t.model_path)
  t.equal(alone:vocab_size(), 1024)
  t.equal(alone:describe().sha256, tokenizer:describe().sha256)
end)

t.test("ids are checked", function()
  t.fails("ids[2]", tokenizer.decode, tokenizer, { 5, 1.5 })
  t.equal(t.fails("", tokenizer.decode, tokenizer, { 1024 }).code, "INVALID_ARGUMENT")
end)

t.run()
