// What every operation asks of its tensors.
#pragma once

#include <string>

#include "backends/backend.h"

namespace okapi::cpu {

inline std::string shape_text(const ConstTensorView& view) {
  std::string text = "[";
  for (int axis = 0; axis < view.rank; ++axis) {
    text += (axis > 0 ? ", " : "") + std::to_string(view.shape[axis]);
  }
  return text + "]";
}

/// An f32 matrix [rows, columns] whose rows are contiguous each; what = "linear: x".
inline void check_matrix(const ConstTensorView& view, int64_t rows, int64_t columns,
                         const char* what) {
  if (view.rank != 2 || view.shape[0] != rows || view.shape[1] != columns) {
    throw BackendError(std::string(what) + ": wanted [" + std::to_string(rows) + ", " +
                       std::to_string(columns) + "], found " + shape_text(view));
  }
  if (view.dtype != DType::f32) throw BackendError(std::string(what) + ": wanted f32");
  if (view.strides[1] != 1 && columns > 1) {
    throw BackendError(std::string(what) + ": the elements of a row must be contiguous");
  }
  if (view.empty() && rows * columns > 0)
    throw BackendError(std::string(what) + ": no memory given");
}

inline void check_vector(const ConstTensorView& view, int64_t n, DType dtype, const char* what) {
  if (view.rank != 1 || view.shape[0] != n || view.dtype != dtype ||
      (n > 1 && view.strides[0] != 1)) {
    throw BackendError(std::string(what) + ": wanted a contiguous vector of " + std::to_string(n) +
                       (dtype == DType::f32 ? " f32" : " i32") + ", found " + shape_text(view));
  }
  if (view.empty() && n > 0) throw BackendError(std::string(what) + ": no memory given");
}

/// n f32 of any shape, one after another.
inline void check_contiguous(const ConstTensorView& view, int64_t n, const char* what) {
  int64_t stride = 1;
  bool is_contiguous = true;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    is_contiguous = is_contiguous && (view.shape[axis] == 1 || view.strides[axis] == stride);
    stride *= view.shape[axis];
  }
  if (view.dtype != DType::f32 || view.count() != n || !is_contiguous) {
    throw BackendError(std::string(what) + ": wanted " + std::to_string(n) +
                       " contiguous f32, found " + shape_text(view));
  }
  if (view.empty() && n > 0) throw BackendError(std::string(what) + ": no memory given");
}

inline const float* floats(const ConstTensorView& view) {
  return static_cast<const float*>(view.data);
}
inline float* floats(const TensorView& view) { return static_cast<float*>(view.data); }

}  // namespace okapi::cpu
