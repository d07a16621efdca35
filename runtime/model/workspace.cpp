#include "runtime/model/workspace.h"

#include <exception>
#include <utility>

namespace okapi {

TensorView Workspace::buffer(Buffer name, int64_t rows, int64_t columns, DType dtype) {
  Tensor& tensor = buffers_[static_cast<size_t>(name)];
  const auto bytes = static_cast<size_t>(rows * columns) * size_of(dtype);
  if (tensor.empty() || bytes > tensor.bytes()) {
    stream_->synchronize();
    tensor = Tensor();  // gone before its successor comes
    tensor = Tensor(backend_, DType::u8, {static_cast<int64_t>(bytes)});
  }
  return TensorView(tensor.view().data, dtype, {rows, columns});
}

WorkspacePool::Lease::Lease(WorkspacePool& pool, std::unique_ptr<Workspace> workspace)
    : pool_(pool), workspace_(std::move(workspace)), n_exceptions_(std::uncaught_exceptions()) {}

WorkspacePool::Lease::~Lease() {
  if (std::uncaught_exceptions() > n_exceptions_) return;
  try {
    const std::lock_guard lock(pool_.mutex_);
    pool_.idle_.push_back(std::move(workspace_));
  } catch (...) {
    // No memory to remember it in: it goes.
  }
}

WorkspacePool::Lease WorkspacePool::borrow() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<Workspace> workspace = std::move(idle_.back());
      idle_.pop_back();
      return {*this, std::move(workspace)};
    }
  }
  return {*this, std::make_unique<Workspace>(backend_, activations_)};
}

}  // namespace okapi
