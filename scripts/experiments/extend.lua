-- Question: how far does a few minutes' training on a CPU extend what a model can read?
-- Expect:   with positions divided by 2, and no training, it retrieves nothing at any length: they
--           lie closer than any it has seen. Tuned, it retrieves most lines up to twice its trained
--           length, and nothing at four times that.
-- Run:      okapi run scripts/experiments/extend.lua [MODEL] [--target 1024] [--steps 100,120]
--             [--tokens 4096] [--samples 24] [--lengths 256,512,768,1024,2048] [--out results]
--
-- Whatever is finished is kept: samples and the training curves in OUT/extend.db, the training,
-- every 20 steps and at Ctrl-C, in OUT/extend. The same command goes on where it stopped, and once
-- all is done prints the table again. OUT/extend.csv has a row per sample.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = here .. "/lib/?.lua;" .. package.path

local okapi = require "okapi"
local options = require "options"
local grid = require "grid"

local given = options.parse(arg, {
  model = here .. "/../../models/savanna-5m",
  target = 1024, -- longest document, in tokens
  steps = { 100, 120 }, -- while the scale grows, and at the target
  tokens = 4096, -- most tokens of a step
  samples = 24,
  lengths = { 256, 512, 768, 1024, 2048 },
  out = "results",
}, "model")

local base <close> = okapi.model(given.model)
local trained_length = base:info().trained_length
local scale = given.target / trained_length
assert(scale > 1, "--target: wanted more than the trained length, " .. trained_length)
local rope = ("linear:scale=%.10g"):format(scale)

-- Answers alone are learned, every document is new, and lengths vary.
local function documents(params, length)
  params.training, params.style, params.length = true, "compact", length
  return { dataset = "lines", params = params, length = length }
end

local function train(name, config)
  local n_trained, started = 0, os.time()
  config.rope.train, config.rope.eval = rope, rope
  config.optimizer.beta2 = 0.95
  config.batch = { tokens = given.tokens }
  config.recompute = false
  config.checkpoint = { folder = ("%s/extend/%s"):format(given.out, name), every = 20, keep = 1 }
  config.results = given.out .. "/extend.db"
  config.resume = true
  config.on_step = function(step)
    n_trained = n_trained + 1
    if step.step % 10 ~= 0 and step.step > 1 then return end
    print(("%s, step %d of %d: loss %.3f under %s, %.0f tokens/s"):format(
      name, step.step, config.steps, step.loss, step.rope, step.tokens_per_second))
    io.flush()
  end
  local summary = okapi.train(config)
  if n_trained > 0 then
    print(("%s: %d steps in %d s"):format(name, n_trained, os.time() - started))
  end
  return summary.last_checkpoint -- a model's folder
end

-- Dividing positions by 2 at once breaks every circuit that counts tokens. Divided by a little more
-- every few steps, in documents no longer than the trained length, all distances stay within what
-- the model knows: it never stops answering, and only has to keep up.
local N_MOVES <const> = 10
local by = (scale - 1) / N_MOVES
local closer = train("closer", {
  model = given.model,
  seed = 1,
  steps = given.steps[1],
  rope = {
    schedule = {
      {
        scheme = "linear", parameter = "scale", from = 1 + by, to = scale, by = by,
        every = math.max(1, given.steps[1] // (N_MOVES + 1)),
      },
    },
  },
  optimizer = { learning_rate = 5e-4 },
  schedule = { kind = "cosine", warmup = given.steps[1] // 10, floor = 0.5 },
  data = documents({ questions = 12, min_questions = 6 }, trained_length),
})

-- What is left is to tell more lines apart, in documents up to the target. A higher learning rate
-- than these breaks more than it mends within so few steps.
local longer = train("longer", {
  model = closer,
  seed = 2,
  steps = given.steps[2],
  rope = {},
  optimizer = { learning_rate = 7e-4 },
  schedule = { kind = "cosine", warmup = given.steps[2] // 10, floor = 0.02 },
  data = documents({ min_length = given.target // 4, questions = 24, min_questions = 10 },
    given.target),
})

local tuned <close> = okapi.model(longer)
local results <close> = okapi.results(given.out .. "/extend.db")

print(("Lines retrieved by %s, trained on %d tokens, tuned on %d: share of %d, its 95 %% interval")
  :format(given.model:match("([^/]+)/*$"), trained_length, given.target, given.samples))
local linear = ("linear %.4g"):format(scale)
local rows = {
  { name = "base, plain", model = base, rope = "plain" },
  { name = "base, " .. linear, model = base, rope = rope },
  { name = "tuned, " .. linear, model = tuned, rope = rope },
}
local table_of_results = grid.new("tokens", given.lengths)
for _, row in ipairs(rows) do
  table_of_results:begin_row(row.name)
  for _, length in ipairs(given.lengths) do
    local score = okapi.evaluate {
      task = okapi.task("lines", {
        style = "compact", length = length, include_budget = true,
        n_samples = given.samples, seed = 1,
      }),
      model = row.model,
      rope = row.rope,
      results = results,
    }
    table_of_results:add(grid.interval(score))
  end
  table_of_results:end_row()
end

results:export_csv(given.out .. "/extend.csv")
print("The tuned model is " .. longer .. "; samples and the training curves are in "
  .. given.out .. "/extend.db.")
