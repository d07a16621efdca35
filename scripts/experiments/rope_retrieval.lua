-- Question: how far past its training length does a model retrieve a line, under which scheme?
-- Expect:   plain fails just past its trained 512 tokens; linear and ntk, without training, fail
--           sooner or later; yarn holds to four times that, and by length a good way further.
-- Run:      okapi run scripts/experiments/rope_retrieval.lua [MODEL] [--samples 24]
--             [--lengths 256,512,768,1024,2048,4096] [--schemes 'plain; yarn:scale=4; ...']
--             [--out results]
--
-- --schemes asks these instead of the table's own, plugins of yours among them, where
-- OKAPI_PLUGIN_PATH names their folder.
-- Every sample is kept in OUT/rope_retrieval.db as it finishes: interrupted, the same command goes
-- on where it stopped. OUT/rope_retrieval.csv has a row per sample.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = here .. "/lib/?.lua;" .. package.path

local okapi = require "okapi"
local options = require "options"
local grid = require "grid"

local given = options.parse(arg, {
  model = here .. "/../../models/savanna-5m",
  samples = 24,
  lengths = { 256, 512, 768, 1024, 2048, 4096 },
  schemes = "", -- those below
  out = "results",
}, "model")

-- A scheme of our own. YaRN blends each pair's frequency between kept and divided by the scale, on
-- a line over the pair's index. Here the blend is geometric, and over what the model knows of a
-- pair: the logarithm of the turns it made within the trained length. A pair that turned often has
-- seen every angle and is kept; one that never came round is stretched to angles it has seen.
okapi.rope.define("turns", {
  scale = { from_model = "length_ratio", min = 1, help = "target / trained length" },
  seldom = { default = 1.0, above = 0, help = "turns up to which a pair is fully stretched" },
  often = { default = 16.0, above = 0, help = "turns from which a pair is kept" },
}, function(geometry)
  local params = geometry.params
  local inv_freq = {}
  for pair, frequency in ipairs(geometry.inv_freq) do
    local turns = geometry.trained_length * frequency / (2 * math.pi)
    local place = math.log(turns / params.seldom) / math.log(params.often / params.seldom)
    local stretched = 1 - math.max(0, math.min(1, place))
    inv_freq[pair] = frequency * params.scale ^ -stretched
  end
  -- More keys dilute the softmax; YaRN's fit for how much sharper it must be.
  return { inv_freq = inv_freq, rotation_gain = 0.1 * math.log(params.scale) + 1 }
end)

local schemes = {
  { name = "plain", spec = "plain" },
  { name = "linear 4", spec = "linear:scale=4" },
  { name = "ntk 4", spec = "ntk:scale=4" },
  { name = "dynamic_ntk 4", spec = "dynamic_ntk:scale=4" },
  { name = "yarn 4", spec = "yarn:scale=4" },
  { name = "yarn by length", spec = "yarn" },
  { name = "turns by length", spec = "turns" },
}
if given.schemes ~= "" then
  schemes = {}
  for spec in given.schemes:gmatch("%s*([^;]*[^;%s])") do
    schemes[#schemes + 1] = { name = spec, spec = spec }
  end
  assert(#schemes > 0, "--schemes: wanted specs with ; between them, found none")
end

local model <close> = okapi.model(given.model) -- weights are loaded once for all schemes
local results <close> = okapi.results(given.out .. "/rope_retrieval.db")

for _, scheme in ipairs(schemes) do model:rope(scheme.spec) end -- a mistake shows before the work
print(("Lines retrieved by %s, trained on %d tokens: share of %d, and its 95 %% interval")
  :format(given.model:match("([^/]+)/*$"), model:info().trained_length, given.samples))
local table_of_results = grid.new("tokens", given.lengths)
for _, scheme in ipairs(schemes) do
  table_of_results:begin_row(scheme.name)
  for _, length in ipairs(given.lengths) do
    local score = okapi.evaluate {
      task = okapi.task("lines", {
        style = "compact", length = length, include_budget = true,
        n_samples = given.samples, seed = 1,
      }),
      model = model,
      rope = scheme.spec,
      rope_length = length, -- schemes that depend on length are evaluated at this one
      results = results,
    }
    table_of_results:add(grid.interval(score))
  end
  table_of_results:end_row()
end

results:export_csv(given.out .. "/rope_retrieval.csv")
print("Samples are in " .. given.out .. "/rope_retrieval.db and rope_retrieval.csv.")
