-- okapi.train, okapi.trainer and okapi.plan.
local okapi = require "okapi"
local t = require "harness"

-- Steps as small as these are slower on several threads.
okapi.default_runtime(okapi.runtime { threads = 1 })

-- An adapter, whose checkpoints are small, and short documents; `changes` replace or, with false, take away.
local function config(changes)
  local result = {
    model = t.model_path,
    steps = 4,
    seed = 3,
    lora = { rank = 2 },
    optimizer = { learning_rate = 1e-3 },
    batch = { sequences = 2 },
    data = {
      dataset = "lines",
      params = { training = true, style = "compact", length = 96, min_length = 64 },
      length = 96,
      holdout = 2,
    },
  }
  for key, value in pairs(changes or {}) do result[key] = value or nil end
  return result
end

local function folder(name) return { folder = t.folder .. "/" .. name } end

local function losses_of(changes)
  local losses = {}
  changes.on_step = function(step) losses[step.step] = step.loss end
  return okapi.train(config(changes)), losses
end

t.test("a run reports its steps, evaluations and checkpoints, and sums up", function()
  local heard = {}
  local tuned = t.folder .. "/tuned"
  local summary = okapi.train(config {
    rope = { train = "linear:scale=2" },
    checkpoint = { folder = t.folder .. "/whole", every = 2 },
    evaluation = { every = 4 },
    on_step = function(step) heard[#heard + 1] = "step " .. step.step end,
    on_evaluation = function(evaluation) heard[#heard + 1] = "evaluation " .. evaluation.step end,
    on_checkpoint = function(checkpoint) heard[#heard + 1] = "checkpoint " .. checkpoint.step end,
    export = tuned, merged = true,
  })
  t.same_list(heard, {
    "step 1", "step 2", "checkpoint 2", "step 3", "step 4", "evaluation 4", "checkpoint 4",
  })
  t.equal(summary.steps_done, 4)
  t.equal(summary.n_steps, 4)
  t.equal(summary.step.step, 4)
  t.equal(summary.train_rope, okapi.model(t.model_path):rope("linear:scale=2"):canonical())
  t.equal(summary.checkpoint.path, summary.last_checkpoint)
  assert(summary.step.loss > 0 and summary.evaluation.loss > 0)
  assert(summary.step.n_learned < summary.step.n_tokens, "only answers are learned")
  -- What was exported reads under the rope that it was trained with.
  local model = okapi.model(tuned)
  local by_itself, told = model:session():prefill("The"), model:session({ rope = "linear:scale=2" }):prefill("The")
  for i = 1, #told do t.equal(by_itself[i], told[i], "logit") end
end)

t.test("a run in parts gives the losses of a whole one", function()
  local whole, losses = losses_of { checkpoint = folder "one" }
  local trainer <close> = okapi.trainer(config { checkpoint = folder "parts" })
  t.equal(trainer:step().loss, losses[1])
  t.equal(trainer:run({ to_step = 3 }).step.loss, losses[3])
  t.equal(trainer:metrics().checkpoint.step, 3)
  trainer:close()

  t.equal(t.fails("", okapi.trainer, config { checkpoint = folder "parts" }).code, "ALREADY_EXISTS")
  local rest <close> = okapi.trainer(config { checkpoint = folder "parts", resume = true })
  t.equal(rest:describe().steps_done, 3)
  t.equal(rest:metrics().step, nil)
  t.equal(rest:step().loss, losses[4])
  t.equal(rest:describe().data_position, 8)
  t.equal(whole.steps_done, 4)
end)

t.test("steps are a loop that ends", function()
  local trainer <close> = okapi.trainer(config())
  local numbers = {}
  for step in trainer.step, trainer do numbers[#numbers + 1] = step.step end
  t.same_list(numbers, { 1, 2, 3, 4 })
  t.equal(trainer:step(), nil)
end)

t.test("a trainer evaluates, saves and exports when it is told to", function()
  local trainer <close> = okapi.trainer(config { checkpoint = folder "told" })
  local before = trainer:evaluate()
  t.equal(before.step, 0)
  for _ = 1, 2 do trainer:step() end
  assert(trainer:evaluate().loss ~= before.loss, "two steps changed nothing")
  t.equal(trainer:metrics().evaluation.step, 2)
  local saved = trainer:save()
  t.equal(saved.step, 2)
  t.equal(trainer:describe().last_checkpoint, saved.path)

  local adapter, merged = t.folder .. "/adapter", t.folder .. "/merged"
  trainer:export(adapter)
  trainer:export(merged, { merged = true })
  assert(io.open(adapter .. "/adapter_config.json")):close()
  local logits = okapi.model(t.model_path):session():prefill { 1, 5, 9 }
  local tuned = okapi.model(merged):session():prefill { 1, 5, 9 }
  local n_different = 0
  for i = 1, #logits do n_different = n_different + (logits[i] ~= tuned[i] and 1 or 0) end
  assert(n_different > 0, "the adapter is not in it")
end)

t.test("an error in a function ends the run after a whole step and is raised once", function()
  local n_calls = 0
  local trainer <close> = okapi.trainer(config { checkpoint = folder "failing" })
  t.fails("my own words", trainer.run, trainer, {
    on_step = function()
      n_calls = n_calls + 1
      if n_calls == 2 then error("my own words") end
    end,
    on_checkpoint = function() n_calls = n_calls + 100 end,
    progress = function() if n_calls >= 2 then n_calls = n_calls + 100 end end,
  })
  t.equal(n_calls, 2, "a function was called after one failed")
  t.equal(trainer:describe().steps_done, 2)
  t.equal(trainer:metrics().checkpoint.step, 2)
  t.equal(trainer:run().steps_done, 4)
end)

t.test("an error at the last step is raised too", function()
  t.fails("at the end", okapi.train, config {
    on_step = function(step) if step.step == 4 then error("at the end") end end,
  })
end)

t.test("a run is cancelled by false, by a token, and goes on", function()
  local trainer <close> = okapi.trainer(config { checkpoint = folder "cancelled" })
  local failure = t.fails("", trainer.run, trainer, { on_step = function() return false end })
  t.equal(failure.code, "CANCELLED")
  t.equal(trainer:describe().last_checkpoint:match("%d+$"), "00000001")
  local cancel = okapi.cancel()
  failure = t.fails("", trainer.run, trainer, { cancel = cancel, on_step = function() cancel:request() end })
  t.equal(failure.code, "CANCELLED")
  t.equal(trainer:run().step.step, 4)
end)

t.test("an evaluation and an export are cancelled too", function()
  local trainer <close> = okapi.trainer(config { checkpoint = folder "cancellable" })
  trainer:run { to_step = 1 }
  local cancel = okapi.cancel()
  cancel:request()
  t.equal(t.fails("", trainer.evaluate, trainer, { cancel = cancel }).code, "CANCELLED")
  t.equal(t.fails("", trainer.export, trainer, folder("none").folder, { cancel = cancel }).code, "CANCELLED")
  t.equal(trainer:step().step, 2)
end)

t.test("the curves of a run are in its results file", function()
  local path = t.folder .. "/curves.db"
  local _, losses = losses_of { results = path, evaluation = { every = 4 } }
  local runs = okapi.results(path):training()
  t.equal(#runs, 1)
  t.equal(#runs[1].steps, 4)
  for i, step in ipairs(runs[1].steps) do t.equal(step.loss, losses[i], "loss") end
  t.equal(runs[1].evaluations[1].step, 4)
end)

t.test("progress counts steps", function()
  local last
  okapi.train(config { progress = function(progress) if progress.stage == "train" then last = progress end end })
  t.equal(last.done, 4)
  t.equal(last.total, 4)
end)

t.test("a function must not call okapi while training calls it", function()
  t.fails("must not call okapi", okapi.train, config {
    on_step = function() okapi.model(t.model_path) end,
  })
  local trainer = okapi.trainer(config())
  t.fails("the trainer is closed", trainer.run, trainer, {
    on_step = function() local _ <close> = trainer end, -- it is let go of, but not under the run's feet
  })
end)

t.test("a plan has the memory by part", function()
  local plan = okapi.plan(config())
  t.equal(plan.fits, true)
  assert(plan.memory.moments > 0 and plan.text ~= "")
end)

t.test("a scheme written in Lua can be trained under", function()
  okapi.rope.define("lua_halved", {}, function(geometry)
    local inv_freq = {}
    for pair, frequency in ipairs(geometry.inv_freq) do inv_freq[pair] = frequency / 2 end
    return { inv_freq = inv_freq }
  end)
  local _, mine = losses_of { rope = { train = "lua_halved" } }
  local _, theirs = losses_of { rope = { train = "linear:scale=2" } }
  t.same_list(mine, theirs, "losses")
end)

t.test("mistakes are named", function()
  t.fails("optimizer.learning_rat", okapi.train, config { optimizer = { learning_rat = 1 } })
  t.fails("reusme", okapi.train, config { reusme = true })
  t.fails("unknown option 'on_stp' (did you mean 'on_step'?)", okapi.train, config { on_stp = function() end })
  t.fails("unknown option 'on_step'", okapi.trainer, config { on_step = function() end })
  t.fails("on_step: wanted a function, found 3", okapi.train, config { on_step = 3 })
  t.fails("no adapter to merge", okapi.train, config { lora = false, export = t.folder .. "/none", merged = true })
  local function never() error("a run began whose export could not be written") end
  t.fails("cannot create the file", okapi.train, config { export = arg[0] .. "/within", on_step = never })
  t.fails("export is missing", okapi.train, config { merged = true })
  t.fails("model", okapi.train, config { model = false })
  t.fails("model: wanted a string, a number, true, false or a table, found an okapi.model",
    okapi.train, config { model = okapi.model(t.model_path) })
  t.fails("wanted a table, found 'train.yaml'", okapi.train, "train.yaml")
  t.fails("resume", okapi.plan, config { resume = true })
  local trainer <close> = okapi.trainer(config())
  t.fails("unknown option 'to_stp' (did you mean 'to_step'?)", trainer.run, trainer, { to_stp = 2 })
  t.fails("to_step: must not be negative", trainer.run, trainer, { to_step = -1 })
  t.equal(t.fails("folder", trainer.save, trainer).code, "FAILED_PRECONDITION")
  trainer:close()
  t.fails("the trainer is closed", trainer.step, trainer)
end)

t.run()
