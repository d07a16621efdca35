-- model:adapter, okapi.adapter.merge and okapi.delta.
local okapi = require "okapi"
local t = require "harness"

local model = okapi.model(t.model_path, { dtype = "f32" })

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

-- The bytes of a peft folder's tensors: f32, by a congruential generator.
local function write_adapter(folder, seed)
  assert(os.execute("mkdir -p '" .. folder .. "'"))
  local info = model:info()
  local rank, width = 2, info.n_heads * info.head_dim
  local tensors, parts, offset = {}, {}, 0
  for layer = 0, info.n_layers - 1 do
    for _, matrix in ipairs { { "A", rank, info.d_model }, { "B", width, rank } } do
      local letter, rows, columns = table.unpack(matrix)
      local values = {}
      for i = 1, rows * columns do
        seed = (seed * 1103515245 + 12345) % 2147483648
        values[i] = string.pack("<f", (seed / 2147483648 - 0.5) * 0.6)
      end
      local bytes = table.concat(values)
      local name = ("base_model.model.model.layers.%d.self_attn.q_proj.lora_%s.weight"):format(layer, letter)
      tensors[#tensors + 1] = ('"%s":{"dtype":"F32","shape":[%d,%d],"data_offsets":[%d,%d]}'):format(
        name, rows, columns, offset, offset + #bytes)
      parts[#parts + 1] = bytes
      offset = offset + #bytes
    end
  end
  local header = "{" .. table.concat(tensors, ",") .. "}"
  header = header .. (" "):rep(-#header % 8)
  write(folder .. "/adapter_model.safetensors", string.pack("<I8", #header) .. header .. table.concat(parts))
  write(folder .. "/adapter_config.json", okapi.json.encode {
    peft_type = "LORA", r = rank, lora_alpha = 4, target_modules = { "q_proj" },
  })
  return folder
end

local lora = write_adapter(t.folder .. "/lora", 1)
local merged_folder = t.folder .. "/merged"
okapi.adapter.merge { base = t.model_path, adapter = lora, out = merged_folder, dtype = "f32" }
local merged = okapi.model(merged_folder, { dtype = "f32" })
local text = "line a-b: REGISTER_CONTENT is <123>\nWhat is the REGISTER_CONTENT in line a-b? <"

local function largest_difference(a, b)
  t.equal(#a, #b)
  local most = 0
  for i = 1, #a do most = math.max(most, math.abs(a[i] - b[i])) end
  return most
end

t.test("loaded twice it is one adapter", function()
  local a, b = model:session { adapter = lora }, model:session { adapter = lora }
  a:prefill(text)
  b:prefill(text)
  t.equal(#okapi.advance({ a, b }, { { 5 }, { 5 } }), 2)
end)

-- Both are f32 passes over the same numbers in another order.
t.test("beside a session it is the merged model", function()
  local adapter = model:adapter(lora)
  local wanted = merged:session():prefill(text)
  assert(largest_difference(model:session({ adapter = adapter }):prefill(text), wanted) < 1e-3)
  assert(largest_difference(model:session({ adapter = lora }):prefill(text), wanted) < 1e-3)
  assert(largest_difference(model:session():prefill(text), wanted) > 0.05)
end)

t.test("an evaluation with it is the merged model's, and names it", function()
  local function score(of, adapter)
    return okapi.evaluate {
      task = okapi.task("lines", { style = "compact", length = 128, n_samples = 3 }), model = of, adapter = adapter,
    }
  end
  local with, wanted, without = score(model, model:adapter(lora)), score(merged), score(model)
  local differs = false
  for i = 1, 3 do
    t.same_list(with.samples[i].output_ids, wanted.samples[i].output_ids, "output_ids")
    differs = differs or with.samples[i].output ~= without.samples[i].output
  end
  assert(differs, "the adapter does nothing")
  t.equal(with.run.info.adapter.path, lora)
  t.equal(with.run.identity.adapter_sha256, model:adapter(lora):describe().sha256)
  t.equal(without.run.identity.adapter_sha256, nil)
end)

t.test("it describes itself, and is saved as a peft folder", function()
  local adapter <close> = model:adapter(lora)
  local about = adapter:describe()
  t.equal(about.rank, 2)
  t.equal(about.scale, 2.0)
  t.same_list(about.targets, { "q_proj" }, "targets")
  adapter:save(t.folder .. "/copy")
  t.equal(model:adapter(t.folder .. "/copy"):describe().sha256, about.sha256)
end)

t.test("a saved session comes back under its own adapter alone", function()
  local path, adapter = t.folder .. "/session", model:adapter(lora)
  local session = model:session { adapter = adapter }
  session:prefill(text)
  session:save(path)
  t.same_list(model:restore(path, { adapter = adapter }):decode(7), session:decode(7), "logits")
  t.equal(t.fails("adapter", model.restore, model, path).code, "FAILED_PRECONDITION")
  local other = write_adapter(t.folder .. "/other", 2)
  t.equal(t.fails("adapter", model.restore, model, path, { adapter = other }).code, "FAILED_PRECONDITION")
end)

t.test("it outlives its model's box", function()
  local short = okapi.model(t.model_path)
  local adapter = short:adapter(lora)
  short:close()
  collectgarbage()
  t.equal(adapter:describe().rank, 2)
end)

t.test("a delta gives the tuned model back, to its own base alone", function()
  local delta, restored = t.folder .. "/delta", t.folder .. "/restored"
  local n_done = 0
  okapi.delta.make {
    base = t.model_path, tuned = merged_folder, out = delta, dtype = "f32",
    progress = function(progress) n_done = progress.done end,
  }
  assert(n_done > 0)
  local about = okapi.delta.check { base = t.model_path, delta = delta }
  t.equal(about.dtype, "F32")
  t.equal(about.tuned_sha256, merged:describe().sha256)
  okapi.delta.apply { base = t.model_path, delta = delta, out = restored, dtype = "f32" }
  local found = okapi.model(restored, { dtype = "f32" }):session():prefill(text)
  assert(largest_difference(found, merged:session():prefill(text)) < 1e-3)
  t.equal(t.fails("made from a base of SHA-256", okapi.delta.check, { base = merged_folder, delta = delta }).code,
          "FAILED_PRECONDITION")
end)

t.test("an error in a progress function stops the call", function()
  local out = t.folder .. "/stopped"
  t.fails("my own words", okapi.delta.make, {
    base = t.model_path, tuned = merged_folder, out = out, progress = function() error("my own words") end,
  })
  t.equal(io.open(out .. "/delta.safetensors"), nil)
  t.fails("my own words", okapi.adapter.merge, {
    base = t.model_path, adapter = lora, out = out, progress = function() error("my own words") end,
  })
  t.equal(io.open(out .. "/model.safetensors"), nil)
end)

t.test("mistakes are named", function()
  t.equal(t.fails("none", model.adapter, model, t.folder .. "/none").code, "NOT_FOUND")
  t.fails("adapter: wanted a folder or an adapter, found", model.session, model, { adapter = 5 })
  t.fails("another model", merged.session, merged, { adapter = model:adapter(lora) })
  t.fails("option 'out' is missing", okapi.adapter.merge, { base = "b", adapter = "a" })
  t.fails("unknown option 'bass'", okapi.delta.check, { bass = "b" })
  t.fails("folder of its own", okapi.adapter.merge, { base = t.model_path, adapter = lora, out = lora })
  t.fails("dtype", okapi.delta.apply, { base = "b", delta = "d", out = "o", dtype = "f64" })
end)

t.run()
