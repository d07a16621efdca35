// A tensor that owns its memory on a backend.
#pragma once

#include <initializer_list>
#include <memory>

#include "backends/backend.h"

namespace okapi {

/// Contiguous, uninitialised. Holds its backend, so it may outlive everything else that does.
class Tensor {
 public:
  Tensor() = default;

  /// Throws Error invalid_argument for a negative size, std::bad_alloc when the bytes do not fit
  /// into memory or into a size_t.
  Tensor(std::shared_ptr<Backend> backend, DType dtype, std::initializer_list<int64_t> shape);
  ~Tensor();

  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(Tensor&& other) noexcept;
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  TensorView view() { return view_; }
  ConstTensorView view() const { return view_; }

  /// Rows [begin, begin + n) of the outermost dimension.
  TensorView rows(int64_t begin, int64_t n);

  size_t bytes() const { return static_cast<size_t>(view_.count()) * size_of(view_.dtype); }
  bool empty() const { return view_.empty(); }

 private:
  std::shared_ptr<Backend> backend_;
  TensorView view_;
};

}  // namespace okapi
