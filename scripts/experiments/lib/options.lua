-- Options of an experiment: `--name value`, each with a default whose type it takes, and at most
-- one word without a name.
local options = {}

-- What an experiment's file says at its head is its help.
local function print_help(script)
  for line in io.lines(script) do
    local text = line:match("^%-%-%s?(.*)$")
    if not text then break end
    print(text)
  end
  os.exit(0, true)
end

local function fail(message)
  io.stderr:write("okapi: ", message, "\n")
  os.exit(2, true)
end

local function sorted_names(defaults)
  local names = {}
  for name in pairs(defaults) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function integer(name, text)
  local value = math.tointeger(tonumber(text))
  if not value or value < 1 then
    fail(("--%s: wanted a number from 1 on, found '%s'"):format(name, text))
  end
  return value
end

local function converted(name, text, default)
  if type(default) == "number" then return integer(name, text) end
  if type(default) ~= "table" then return text end
  local list = {}
  for part in text:gmatch("[^,]+") do list[#list + 1] = integer(name, part) end
  if #list == 0 then fail("--" .. name .. ": the list is empty") end
  return list
end

-- Options in `words` over `defaults`; a word without a name is the option `positional`.
function options.parse(words, defaults, positional)
  local given = {}
  for name, default in pairs(defaults) do given[name] = default end
  if words[1] == "--help" or words[1] == "-h" then print_help(words[0]) end
  local i = 1
  local has_positional = false
  while i <= #words do
    local name = words[i]:match("^%-%-(.+)$")
    if not name and not has_positional and positional then
      given[positional] = words[i]
      has_positional = true
      i = i + 1
    elseif not name or defaults[name] == nil then
      fail(("unknown argument '%s'; known are --%s"):format(
        words[i], table.concat(sorted_names(defaults), ", --")))
    elseif words[i + 1] == nil then
      fail("--" .. name .. ": its value is missing")
    else
      given[name] = converted(name, words[i + 1], defaults[name])
      i = i + 2
    end
  end
  return given
end

return options
