// okapi.array: numbers in one block, for logits, losses and positions. Indices start at 1, as in
// Lua.
#pragma once

#include <cstdint>

#include "capi/lua/state.h"

namespace okapi::lua {

enum class Element : int32_t { f32, f64, i32 };

/// The userdata: this header, then `size` elements.
struct Array {
  Element element;
  int64_t size;
  int64_t row_size;  ///< elements per row; equal to size for a plain array

  void* data() { return this + 1; }
  const void* data() const { return this + 1; }
  float* f32() { return static_cast<float*>(data()); }
  double* f64() { return static_cast<double*>(data()); }
  int32_t* i32() { return static_cast<int32_t*>(data()); }

  double get(int64_t index) const;        ///< from 0
  void set(int64_t index, double value);  ///< from 0
};

/// Pushes an array of zeros. Throws if memory is short.
Array* push_array(lua_State* L, Element element, int64_t size, int64_t row_size);

/// Pushes a copy of f32 [size].
void push_f32(lua_State* L, const float* values, int64_t size);

/// The array at `index`, or null if it is something else.
const Array* find_array(lua_State* L, int index);

}  // namespace okapi::lua
