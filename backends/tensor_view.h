// A tensor somebody else owns: pointer, dtype, shape, strides. Shared by the runtime and every
// backend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace okapi {

/// Element types. The values are those of okapi_dtype in the public headers.
enum class DType : int32_t { f32 = 1, f16 = 2, bf16 = 3, f64 = 4, i32 = 5, i64 = 6, u8 = 7 };

/// Bytes of one element.
constexpr size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::u8:
      return 1;
  }
  return 0;
}

constexpr int kMaxRank = 4;

/// Row-major, outermost dimension first; strides count elements. Where `data` points (host or
/// device) is the business of the backend that allocated it.
template <typename Pointer>
struct BasicTensorView {
  Pointer data = nullptr;
  DType dtype = DType::f32;
  int rank = 0;
  int64_t shape[kMaxRank] = {};
  int64_t strides[kMaxRank] = {};

  BasicTensorView() = default;

  /// A contiguous tensor.
  BasicTensorView(Pointer pointer, DType type, std::initializer_list<int64_t> dims)
      : data(pointer), dtype(type), rank(static_cast<int>(dims.size())) {
    int axis = 0;
    for (int64_t dim : dims) shape[axis++] = dim;
    int64_t stride = 1;
    for (axis = rank - 1; axis >= 0; --axis) {
      strides[axis] = stride;
      stride *= shape[axis];
    }
  }

  /// A mutable view reads as a constant one.
  template <typename Other>
  BasicTensorView(
      const BasicTensorView<Other>& other)  // NOLINT(google-explicit-constructor): a view
      : data(other.data), dtype(other.dtype), rank(other.rank) {
    for (int axis = 0; axis < kMaxRank; ++axis) {
      shape[axis] = other.shape[axis];
      strides[axis] = other.strides[axis];
    }
  }

  int64_t count() const {
    int64_t n = 1;
    for (int axis = 0; axis < rank; ++axis) n *= shape[axis];
    return n;
  }

  bool empty() const { return data == nullptr; }
};

using TensorView = BasicTensorView<void*>;
using ConstTensorView = BasicTensorView<const void*>;

}  // namespace okapi
