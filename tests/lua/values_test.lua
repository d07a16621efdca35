-- okapi.array and okapi.json.
local okapi = require "okapi"
local t = require "harness"
local json = okapi.json

t.test("an array holds numbers, counted from 1", function()
  local array = okapi.array { 3, 1.5, -2 }
  t.equal(#array, 3)
  t.equal(array[2], 1.5)
  t.equal(array[0], nil)
  t.equal(array[4], nil)
  array[3] = 7
  t.same_list(array:table(), { 3.0, 1.5, 7.0 })
  local index, value = array:argmax()
  t.equal(index, 3)
  t.equal(value, 7.0)
end)

t.test("elements are rounded to their type", function()
  t.equal(okapi.array({ 0.1 }, "f32")[1], string.unpack("f", string.pack("f", 0.1)))
  t.equal(math.type(okapi.array({ 5 }, "i32")[1]), "integer")
  t.equal(#okapi.array(4), 4)
  t.equal(okapi.array(4)[4], 0.0)
end)

t.test("writing past the end is an error", function()
  local array = okapi.array(2)
  t.fails("index 3 is not in 1..2", function() array[3] = 1 end)
  t.fails("row 2 is not in 1..1", array.row, array, 2)
  t.fails("element type", okapi.array, 2, "f16")
  t.fails("wanted a table or an array", okapi.array, "x")
end)

t.test("integers stay integers and floats floats", function()
  t.equal(json.encode { a = 4, b = 4.0, c = 0.5, d = true, e = "x" },
    '{"a":4,"b":4.0,"c":0.5,"d":true,"e":"x"}')
  local back = json.decode '{"a": 4, "b": 4.0, "big": 9223372036854775807}'
  t.equal(math.type(back.a), "integer")
  t.equal(math.type(back.b), "float")
  t.equal(back.big, math.maxinteger)
end)

t.test("an empty table is an object unless it is marked or came as a list", function()
  t.equal(json.encode {}, "{}")
  t.equal(json.encode(json.array {}), "[]")
  t.equal(json.encode(json.decode '{"a":[],"b":{}}'), '{"a":[],"b":{}}')
end)

t.test("null is left out of objects and kept in lists", function()
  local value = json.decode '{"a": null, "b": [1, null, 3]}'
  t.equal(value.a, nil)
  t.equal(value.b[2], json.null)
  t.equal(json.encode(value), '{"b":[1,null,3]}')
end)

t.test("what has no JSON form is an error that names it", function()
  t.fails("value.f: wanted a string, a number, true, false or a table, found a function", json.encode, { f = print })
  t.fails("value.x: JSON has no", json.encode, { x = 0 / 0 })
  t.fails("both list and object", json.encode, { 1, 2, a = 3 })
  local circle = {}
  circle.circle = circle
  t.fails("nested too deeply", json.encode, circle)
  t.equal(t.fails("parse error", json.decode, "{").code, "INVALID_ARGUMENT")
end)

t.run()
