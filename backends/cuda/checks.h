// What operations on CUDA ask of their tensors beyond backends/checks.h, and of the CUDA runtime.
#pragma once

#include <cuda_runtime_api.h>

#include <new>
#include <string>

#include "backends/checks.h"

namespace okapi::cuda {

/// Throws BackendError, or std::bad_alloc when the device's memory is full. `what` names the call.
inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());  // not a fault of the device: forget it
    throw std::bad_alloc();
  }
  throw BackendError(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

/// Makes a device the thread's current one for a scope. The caller's comes back at its end.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device) : device_(device) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    if (before_ != device_) check(cudaSetDevice(device_), "cudaSetDevice");
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
  ~CurrentDevice() {
    if (before_ != device_) static_cast<void>(cudaSetDevice(before_));
  }

 private:
  int device_;
  int before_ = 0;
};

inline bool is_activation(DType dtype) { return dtype == DType::f32 || dtype == DType::bf16; }

/// A matrix [rows, columns], f32 or bf16, whose rows are contiguous each; what = "linear: x".
inline void check_matrix(const ConstTensorView& view, int64_t rows, int64_t columns,
                         const char* what) {
  okapi::check_matrix(view, rows, columns, is_activation(view.dtype), "f32 or bf16", what);
}

/// Gradients of weights are f32 whatever the activations are.
inline void check_gradient_dtype(const ConstTensorView& view, const char* what) {
  if (view.dtype != DType::f32) throw BackendError(std::string(what) + ": wanted f32");
}

/// n f32 of any shape, one after another.
inline void check_contiguous_f32(const ConstTensorView& view, int64_t n, const char* what) {
  okapi::check_contiguous(view, n, view.dtype == DType::f32, "f32", what);
}

/// Two tensors that one kernel reads or writes with the same element type.
inline void check_same_dtype(const ConstTensorView& a, const ConstTensorView& b, const char* what) {
  if (a.dtype != b.dtype) {
    throw BackendError(std::string(what) + ": both must be f32, or both bf16");
  }
}

/// Whether 16-byte accesses to every row are aligned.
inline bool is_aligned(const ConstTensorView& view) {
  const auto size = static_cast<int64_t>(size_of(view.dtype));
  return reinterpret_cast<uintptr_t>(view.data) % 16 == 0 &&
         (view.rank < 2 || view.shape[0] <= 1 || view.strides[0] * size % 16 == 0);
}

}  // namespace okapi::cuda
