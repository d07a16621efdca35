#include "capi/lua/array.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "capi/lua/arguments.h"
#include "capi/lua/bindings.h"
#include "capi/lua/box.h"

namespace okapi::lua {

using api::invalid;

static const char kArrayKey = 0;

static size_t element_bytes(Element element) { return element == Element::f64 ? 8 : 4; }

double Array::get(int64_t index) const {
  switch (element) {
    case Element::f32:
      return static_cast<const float*>(data())[index];
    case Element::f64:
      return static_cast<const double*>(data())[index];
    case Element::i32:
      return static_cast<const int32_t*>(data())[index];
  }
  return 0;
}

void Array::set(int64_t index, double value) {
  switch (element) {
    case Element::f32:
      f32()[index] = static_cast<float>(value);
      break;
    case Element::f64:
      f64()[index] = value;
      break;
    case Element::i32:
      i32()[index] = static_cast<int32_t>(value);
      break;
  }
}

Array* push_array(lua_State* L, Element element, int64_t size, int64_t row_size) {
  constexpr int64_t kMost = int64_t{1} << 40;
  if (size < 0 || size > kMost)
    throw invalid("an array cannot have " + std::to_string(size) + " elements");
  const size_t n_bytes = sizeof(Array) + static_cast<size_t>(size) * element_bytes(element);
  protect(L, 0, 1, [n_bytes](lua_State* inner) {
    std::memset(lua_newuserdatauv(inner, n_bytes, 0), 0, n_bytes);
    lua_rawgetp(inner, LUA_REGISTRYINDEX, &kArrayKey);
    lua_setmetatable(inner, -2);
    return 1;
  });
  auto* array = static_cast<Array*>(lua_touserdata(L, -1));
  array->element = element;
  array->size = size;
  array->row_size = row_size;
  return array;
}

void push_f32(lua_State* L, const float* values, int64_t size) {
  Array* array = push_array(L, Element::f32, size, size);
  std::copy_n(values, size, array->f32());
}

const Array* find_array(lua_State* L, int index) {
  return static_cast<const Array*>(userdata_of(L, index, &kArrayKey));
}

static Array& array_at(lua_State* L, int index) {
  auto* array = static_cast<Array*>(userdata_of(L, index, &kArrayKey));
  if (array == nullptr) throw invalid("array expected, found " + found_at(L, index));
  return *array;
}

static void push_element(lua_State* L, const Array& array, int64_t index) {
  if (array.element == Element::i32) {
    lua_pushinteger(L, static_cast<const int32_t*>(array.data())[index]);
  } else {
    lua_pushnumber(L, array.get(index));
  }
}

// okapi.array(n | table | array [, "f64" | "f32" | "i32"])
static int array_new(lua_State* L) {
  Element element = Element::f64;
  if (!lua_isnoneornil(L, 2)) {
    element = static_cast<Element>(choice(text_at(L, 2, "element type"), "element type",
                                          {{"f32", static_cast<int32_t>(Element::f32)},
                                           {"f64", static_cast<int32_t>(Element::f64)},
                                           {"i32", static_cast<int32_t>(Element::i32)}}));
  }
  if (lua_type(L, 1) == LUA_TNUMBER) {
    const int64_t size = integer_at(L, 1, "size");
    push_array(L, element, size, size);
    return 1;
  }
  const std::vector<double> values = numbers_at(L, 1, "values");
  const auto size = static_cast<int64_t>(values.size());
  Array* array = push_array(L, element, size, size);
  for (int64_t i = 0; i < size; ++i) array->set(i, values[static_cast<size_t>(i)]);
  return 1;
}

// Methods, pushed as upvalue 1, are found by name; numbers are elements.
static int array_index(lua_State* L) {
  const Array& array = array_at(L, 1);
  if (lua_type(L, 2) == LUA_TSTRING) {
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
  }
  const int64_t index = integer_at(L, 2, "index");
  if (index < 1 || index > array.size) {
    lua_pushnil(L);
  } else {
    push_element(L, array, index - 1);
  }
  return 1;
}

static int array_set(lua_State* L) {
  Array& array = array_at(L, 1);
  const int64_t index = integer_at(L, 2, "index");
  if (index < 1 || index > array.size) {
    throw Failure(OKAPI_OUT_OF_RANGE,
                  "index " + std::to_string(index) + " is not in 1.." + std::to_string(array.size));
  }
  array.set(index - 1, number_at(L, 3, "value"));
  return 0;
}

static int array_length(lua_State* L) {
  lua_pushinteger(L, array_at(L, 1).size);
  return 1;
}

// Index (from 1) and value of the greatest element; the lowest index on a tie.
static int array_argmax(lua_State* L) {
  const Array& array = array_at(L, 1);
  if (array.size == 0) throw Failure(OKAPI_OUT_OF_RANGE, "the array is empty");
  int64_t best = 0;
  for (int64_t i = 1; i < array.size; ++i) {
    if (array.get(i) > array.get(best)) best = i;
  }
  lua_pushinteger(L, best + 1);
  push_element(L, array, best);
  return 2;
}

// array:row(i): a copy of row i (from 1) of logits [n_tokens, vocab_size].
static int array_row(lua_State* L) {
  const Array& array = array_at(L, 1);
  const int64_t n_rows = array.row_size == 0 ? 0 : array.size / array.row_size;
  const int64_t row = integer_at(L, 2, "row");
  if (row < 1 || row > n_rows) {
    throw Failure(OKAPI_OUT_OF_RANGE,
                  "row " + std::to_string(row) + " is not in 1.." + std::to_string(n_rows));
  }
  Array* copy = push_array(L, array.element, array.row_size, array.row_size);
  const size_t row_bytes = static_cast<size_t>(array.row_size) * element_bytes(array.element);
  std::memcpy(copy->data(),
              static_cast<const char*>(array.data()) + static_cast<size_t>(row - 1) * row_bytes,
              row_bytes);
  return 1;
}

static int array_to_table(lua_State* L) {
  const Array& array = array_at(L, 1);
  protect(L, 0, 1, [&array](lua_State* inner) {
    lua_createtable(inner, static_cast<int>(std::min<int64_t>(array.size, 1 << 30)), 0);
    for (int64_t i = 0; i < array.size; ++i) {
      push_element(inner, array, i);
      lua_rawseti(inner, -2, i + 1);
    }
    return 1;
  });
  return 1;
}

void open_array(lua_State* L) {
  const luaL_Reg methods[] = {{"argmax", pure_entry<array_argmax>},
                              {"row", pure_entry<array_row>},
                              {"table", pure_entry<array_to_table>},
                              {nullptr, nullptr}};
  lua_newtable(L);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 0);
  lua_pushcclosure(L, pure_entry<array_index>, 1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, pure_entry<array_set>);
  lua_setfield(L, -2, "__newindex");
  lua_pushcfunction(L, pure_entry<array_length>);
  lua_setfield(L, -2, "__len");
  lua_pushliteral(L, "okapi.array");
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &kArrayKey);

  lua_pushcfunction(L, pure_entry<array_new>);
  lua_setfield(L, -2, "array");
}

}  // namespace okapi::lua
