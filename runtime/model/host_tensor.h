// A contiguous tensor in host memory that owns its bytes.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <vector>

#include "backends/tensor_view.h"

namespace okapi {

class HostTensor {
 public:
  HostTensor() = default;
  HostTensor(DType dtype, std::initializer_list<int64_t> shape) : view_(nullptr, dtype, shape) {
    bytes_.resize(static_cast<size_t>(view_.count()) * size_of(dtype));
    view_.data = bytes_.data();
  }

  // The view points into the bytes, which a move keeps in place and a copy does not.
  HostTensor(HostTensor&&) noexcept = default;
  HostTensor& operator=(HostTensor&&) noexcept = default;
  HostTensor(const HostTensor&) = delete;
  HostTensor& operator=(const HostTensor&) = delete;

  TensorView view() { return view_; }
  ConstTensorView view() const { return view_; }

 private:
  std::vector<std::byte> bytes_;  // from operator new, so aligned for every dtype
  TensorView view_;
};

}  // namespace okapi
