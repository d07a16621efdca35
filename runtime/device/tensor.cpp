#include "runtime/device/tensor.h"

#include <new>
#include <string>
#include <utility>

#include "runtime/base/error.h"

namespace okapi {

namespace {

size_t checked_bytes(DType dtype, std::initializer_list<int64_t> shape) {
  if (shape.size() > kMaxRank)
    throw Error(Code::invalid_argument, "a tensor has at most 4 dimensions");
  size_t bytes = size_of(dtype);
  for (const int64_t size : shape) {
    if (size < 0) {
      throw Error(Code::invalid_argument,
                  "a tensor's dimension must not be negative, found " + std::to_string(size));
    }
    if (__builtin_mul_overflow(bytes, static_cast<size_t>(size), &bytes)) throw std::bad_alloc();
  }
  return bytes;
}

}  // namespace

Tensor::Tensor(std::shared_ptr<Backend> backend, DType dtype, std::initializer_list<int64_t> shape)
    : backend_(std::move(backend)) {
  const size_t bytes = checked_bytes(dtype, shape);
  view_ = TensorView(backend_->allocate(bytes), dtype, shape);
}

Tensor::~Tensor() {
  if (backend_ && view_.data != nullptr) backend_->release(view_.data);
}

Tensor::Tensor(Tensor&& other) noexcept
    : backend_(std::move(other.backend_)), view_(std::exchange(other.view_, TensorView{})) {}

Tensor& Tensor::operator=(Tensor&& other) noexcept {
  std::swap(backend_, other.backend_);
  std::swap(view_, other.view_);
  return *this;
}

TensorView Tensor::rows(int64_t begin, int64_t n) {
  if (view_.rank < 1 || begin < 0 || n < 0 || begin + n > view_.shape[0]) {
    throw Error(Code::out_of_range, "rows " + std::to_string(begin) + " to " +
                                        std::to_string(begin + n) + " of a tensor of " +
                                        std::to_string(view_.rank < 1 ? 0 : view_.shape[0]));
  }
  TensorView part = view_;
  part.data = static_cast<std::byte*>(view_.data) +
              static_cast<size_t>(begin * view_.strides[0]) * size_of(view_.dtype);
  part.shape[0] = n;
  return part;
}

}  // namespace okapi
