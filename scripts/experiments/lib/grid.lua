-- A table that is printed cell by cell, as an experiment goes.
local grid = {}
grid.__index = grid

local NAME_WIDTH <const> = 16
local CELL_WIDTH <const> = 16

local function put(...)
  io.write(...)
  io.flush()
end

-- Prints the head: a name for the columns, and their values.
function grid.new(title, columns)
  local cells = {}
  for i, column in ipairs(columns) do cells[i] = ("%" .. CELL_WIDTH .. "s"):format(column) end
  put(("%-" .. NAME_WIDTH .. "s"):format(title), table.concat(cells), "\n")
  return setmetatable({}, grid)
end

function grid:begin_row(name)
  self.row = name
  put(("%-" .. NAME_WIDTH - 1 .. "s "):format(name))
end

function grid:add(text)
  assert(self.row, "begin a row first")
  put(("%" .. CELL_WIDTH .. "s"):format(text))
end

function grid:end_row()
  self.row = nil
  put("\n")
end

-- A rate with its interval: "0.96 0.80-0.99".
function grid.interval(score)
  return ("%.2f %.2f-%.2f"):format(score.accuracy, score.low, score.high)
end

return grid
