#include "runtime/model/workspace.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <utility>

namespace okapi {

Workspace::Workspace(std::shared_ptr<Backend> backend, DType activations, bool with_branches)
    : backend_(std::move(backend)), activations_(activations) {
  if (!with_branches) {
    stream_ = backend_->create_stream();
    return;
  }
  std::unique_ptr<TrainingStream> stream = backend_->training()->create_training_stream();
  training_stream_ = stream.get();
  stream_ = std::move(stream);
}

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

WorkspacePool::Lease WorkspacePool::borrow(bool with_branches) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(idle_.rbegin(), idle_.rend(), [&](const auto& workspace) {
      return workspace->has_branches() == with_branches;
    });
    if (found != idle_.rend()) {
      std::unique_ptr<Workspace> workspace = std::move(*found);
      idle_.erase(std::next(found).base());
      return {*this, std::move(workspace)};
    }
  }
  return {*this, std::make_unique<Workspace>(backend_, activations_, with_branches)};
}

}  // namespace okapi
