-- Loads the installed Lua module in a stock interpreter. arg[1]: the installed lib folder.
package.cpath = arg[1] .. "/lua/5.4/?.so"
local okapi = require "okapi"
assert(type(okapi.rope.define) == "function")
print("okapi " .. okapi.version())
