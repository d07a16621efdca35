-- okapi.dataset, okapi.task, okapi.evaluate and okapi.results.
local okapi = require "okapi"
local t = require "harness"

local model = okapi.model(t.model_path)

t.test("records are the seed's", function()
  local function prompt(seed)
    return okapi.dataset("lines", { style = "compact", n_lines = 5, n_samples = 3, seed = seed }):record(2).prompt
  end
  t.equal(prompt(1), prompt(1))
  assert(prompt(1) ~= prompt(2))
end)

t.test("a dataset counts from 1", function()
  local dataset <close> = okapi.dataset("lines", { n_lines = 5, n_samples = 3 })
  t.equal(dataset:count(), 3)
  t.equal(dataset:record(3).kind, "prompt")
  t.equal(t.fails("", dataset.record, dataset, 4).code, "OUT_OF_RANGE")
  t.equal(t.fails("numbered from 1", dataset.record, dataset, 0).code, "OUT_OF_RANGE")
  t.fails("n_line", okapi.dataset, "lines", { n_line = 5 })
end)

t.test("a task scores what it asked", function()
  local task = okapi.task("lines", { style = "compact", length = 200, n_samples = 2, seed = 3 }, model)
  t.equal(task:count(), 2)
  local item = task:item(1)
  assert(item.n_tokens <= 200)
  local label = item.prompt:match("in line (%S+)%? <$")
  local number = item.prompt:match("line " .. label:gsub("%-", "%%-") .. ": REGISTER_CONTENT is <(%d+)>")
  t.equal(task:score(1, number .. ">\n").correct, true)
  t.equal(task:score(1, "no number").correct, false)
  t.equal(task:describe().seed, 3)
end)

t.test("a task without a model waits for one", function()
  local task = okapi.task("lines", { style = "compact", length = 128, n_samples = 2 })
  t.fails("has no model yet", task.item, task, 1)
  t.equal(task:bind(model):count(), 2)
  t.equal(okapi.evaluate({ task = task, model = model }).n_done, 2)
  t.equal(okapi.evaluate({ task = task, model = model, deterministic = true }).run.identity.deterministic, true)
end)

t.test("floats that are whole serve as integers", function()
  t.equal(okapi.task("lines", { style = "compact", length = 256 / 2, n_samples = 4 / 2 }, model):count(), 2)
end)

t.test("an evaluation gives accuracy with its interval", function()
  local score = okapi.evaluate {
    task = okapi.task("lines", { style = "compact", length = 256, n_samples = 6, seed = 1 }),
    model = model,
    rope = "plain",
  }
  t.equal(score.accuracy, 1.0) -- the model answers all within its trained 512 tokens
  t.equal(score.metric, "correct")
  t.equal(score.n, 6)
  -- Wilson's 95 % interval of 6 in 6: n / (n + z^2)
  t.near(score.low, 6 / (6 + 1.959963984540054 ^ 2), 1e-9)
  t.near(score.high, 1, 1e-9)
  t.equal(#score.samples, 6)
  t.equal(score.samples[1].correct, true)
  t.equal(score.by_length[1].length, 256)
  t.equal(score.by_length[1].accuracy, 1.0)
  local n = 0
  for _, group in ipairs(score.by_depth) do n = n + group.n end
  t.equal(n, 6)
end)

t.test("prompts may be given", function()
  local prompts = {
    { prompt = "line a-b: REGISTER_CONTENT is <123>\nWhat is the REGISTER_CONTENT in line a-b? <", expected = 123 },
    { prompt = "line a-b: REGISTER_CONTENT is <123>\nWhat is the REGISTER_CONTENT in line a-b? <", expected = 4 },
  }
  local score = okapi.evaluate { task = okapi.task("lines", { prompts = prompts }), model = model }
  t.equal(score.samples[1].output_ids[1] ~= nil, true)
  t.equal(score.samples[2].correct, false)
  t.equal(score.samples[1].output, score.samples[2].output)
end)

local many <const> = 100 -- takes longer than the pause between two reports of progress

t.test("what is stopped goes on where it stopped", function()
  local results <close> = okapi.results(t.folder .. "/resumed/lines.db")
  local function run(progress)
    return okapi.evaluate {
      task = okapi.task("lines", { style = "compact", length = 128, n_samples = many, seed = 2 }),
      model = model, rope = "plain", rope_length = 200, results = results, batch_size = 1, progress = progress,
    }
  end
  local failure = t.fails("", run, function(progress) return progress.done < 1 end)
  t.equal(failure.code, "CANCELLED")
  local kept = results:summary()[1].n_done
  assert(kept >= 1 and kept < many, "it kept " .. kept)
  local score = run()
  t.equal(score.n_done, many)
  t.equal(#results:summary(), 1)
  local again = run()
  for i = 1, many do t.equal(again.samples[i].seconds, score.samples[i].seconds, "computed again") end
end)

t.test("an error in the progress function keeps what is finished", function()
  local path = t.folder .. "/failing.db"
  local results <close> = okapi.results(path)
  t.fails("my own words", okapi.evaluate, {
    task = okapi.task("lines", { style = "compact", length = 128, n_samples = many }), model = model,
    results = results, batch_size = 1,
    progress = function(progress) if progress.done >= 1 then error("my own words") end end,
  })
  assert(results:summary()[1].n_done >= 1)
end)

t.test("results are exported", function()
  local results <close> = okapi.results(t.folder .. "/resumed/lines.db", { read_only = true })
  results:export_csv(t.folder .. "/lines.csv")
  results:export_json(t.folder .. "/lines.json")
  local n_rows = 0
  for _ in io.lines(t.folder .. "/lines.csv") do n_rows = n_rows + 1 end
  assert(n_rows > many, "a head and a row per sample")
  local file <close> = assert(io.open(t.folder .. "/lines.json"))
  t.equal(#okapi.json.decode(file:read "a")[1].samples, many)
  t.equal(t.fails("", okapi.results, t.folder .. "/none.db", { read_only = true }).code, "NOT_FOUND")
end)

t.test("a scheme written in Lua can be evaluated", function()
  okapi.rope.define("lua_stretched", { scale = 1.0 }, function(geometry)
    local inv_freq = {}
    for pair, frequency in ipairs(geometry.inv_freq) do inv_freq[pair] = frequency / geometry.params.scale end
    return { inv_freq = inv_freq }
  end)
  local function score(rope)
    return okapi.evaluate {
      task = okapi.task("lines", { style = "compact", length = 200, n_samples = 3, seed = 4 }),
      model = model, rope = rope,
    }
  end
  local mine, theirs = score("lua_stretched"), score("plain")
  for i = 1, 3 do t.same_list(mine.samples[i].output_ids, theirs.samples[i].output_ids, "output_ids") end
end)

t.test("mistakes are named", function()
  t.fails("option 'task' is missing", okapi.evaluate, { model = model })
  t.fails("unknown option 'ropes' (did you mean 'rope'?)", okapi.evaluate, { task = 1, model = model, ropes = "plain" })
  t.fails("model: wanted an okapi.model, found 'm'", okapi.evaluate, { task = okapi.task("lines"), model = "m" })
  t.fails("task: wanted an okapi.task, found 'lines'", okapi.evaluate, { task = "lines", model = model })
  t.fails("prompts or a dataset, not both", okapi.task, "lines", { prompts = {}, dataset = okapi.dataset("lines") })
  t.fails("nosuch", okapi.task, "nosuch", {}, model)
  t.fails("lenght", okapi.task, "lines", { lenght = 5 }, model)
end)

t.run()
