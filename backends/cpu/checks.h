// What operations on the CPU ask of their tensors beyond backends/checks.h.
#pragma once

#include <string>

#include "backends/checks.h"

namespace okapi::cpu {

/// An f32 matrix [rows, columns] whose rows are contiguous each; what = "linear: x".
inline void check_matrix(const ConstTensorView& view, int64_t rows, int64_t columns,
                         const char* what) {
  okapi::check_matrix(view, rows, columns, view.dtype == DType::f32, "f32", what);
}

/// n f32 of any shape, one after another.
inline void check_contiguous(const ConstTensorView& view, int64_t n, const char* what) {
  okapi::check_contiguous(view, n, view.dtype == DType::f32, "f32", what);
}

inline const float* floats(const ConstTensorView& view) {
  return static_cast<const float*>(view.data);
}
inline float* floats(const TensorView& view) { return static_cast<float*>(view.data); }

}  // namespace okapi::cpu
