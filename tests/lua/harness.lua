-- A test file is run by stock lua5.4 and by `okapi run`: TEST.lua MODEL FOLDER, where MODEL is the trained
-- model and FOLDER is empty and may be written to. Exits with 1 if a test fails.
local harness = { model_path = arg[1], folder = arg[2] }
local tests = {}

-- The name is the claim.
function harness.test(name, body) tests[#tests + 1] = { name = name, body = body } end

function harness.equal(found, wanted, what)
  if found ~= wanted then
    error(("%swanted %s, found %s"):format(what and what .. ": " or "", tostring(wanted), tostring(found)), 2)
  end
end

function harness.near(found, wanted, tolerance, what)
  local distance = math.abs(found - wanted)
  if distance > tolerance or distance ~= distance then -- a NaN is near nothing
    error(("%swanted %.17g within %g, found %.17g"):format(what and what .. ": " or "", wanted, tolerance, found), 2)
  end
end

function harness.same_list(found, wanted, what)
  harness.equal(#found, #wanted, (what or "list") .. ", its length")
  for i = 1, #wanted do harness.equal(found[i], wanted[i], ("%s[%d]"):format(what or "list", i)) end
end

-- Calls body, which must fail with a message that holds `text`; returns the error.
function harness.fails(text, body, ...)
  local ok, failure = pcall(body, ...)
  if ok then error("wanted an error with '" .. text .. "', found none", 2) end
  if not tostring(failure):find(text, 1, true) then
    error(("wanted an error with '%s', found '%s'"):format(text, tostring(failure)), 2)
  end
  return failure
end

function harness.run()
  local n_failed = 0
  for _, test in ipairs(tests) do
    local ok, message = xpcall(test.body, function(failure) return debug.traceback(tostring(failure), 2) end)
    if not ok then n_failed = n_failed + 1 end
    print((ok and "passed  " or "FAILED  ") .. test.name .. (ok and "" or "\n" .. message))
    collectgarbage()
  end
  assert(#tests > 0, "no tests")
  if n_failed > 0 then os.exit(1, true) end
end

return harness
