// What one pass over the model needs besides weights and caches: a stream and buffers for
// activations. Borrowed for a call, so that a thousand idle sessions hold none.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "backends/training.h"
#include "runtime/device/tensor.h"

namespace okapi {

/// The activations by name. Each is one buffer that grows to the largest size asked for.
enum class Buffer {
  residual,
  normed,
  qkv,
  attended,
  delta,
  gate_up,
  activated,
  logits,
  nll,
  branch,
  ids
};
inline constexpr size_t kNBuffers = 11;

class Workspace {
 public:
  /// `with_branches`: the stream also has the products that adapters take.
  Workspace(std::shared_ptr<Backend> backend, DType activations, bool with_branches = false);

  Stream& stream() { return *stream_; }
  bool has_branches() const { return training_stream_ != nullptr; }
  TrainingStream& training_stream() { return *training_stream_; }  ///< with branches only
  DType activation_dtype() const { return activations_; }

  /// [rows, columns] of the named buffer; contents undefined if it had to grow. Earlier views of
  /// the same buffer may then dangle.
  TensorView buffer(Buffer name, int64_t rows, int64_t columns, DType dtype);
  TensorView buffer(Buffer name, int64_t rows, int64_t columns) {
    return buffer(name, rows, columns, activation_dtype());
  }

 private:
  std::shared_ptr<Backend> backend_;
  DType activations_;
  std::array<Tensor, kNBuffers> buffers_;
  std::unique_ptr<Stream> stream_;             // after the buffers: it finishes first
  TrainingStream* training_stream_ = nullptr;  ///< stream_, if it is one
};

/// The idle workspaces of a model. Safe from several threads.
class WorkspacePool {
 public:
  WorkspacePool(std::shared_ptr<Backend> backend, DType activations)
      : backend_(std::move(backend)), activations_(activations) {}

  /// Holds a workspace and brings it back, unless an exception is passing: what a device error has
  /// left behind is not for the next call.
  class Lease {
   public:
    Lease(WorkspacePool& pool, std::unique_ptr<Workspace> workspace);
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease();

    Workspace& operator*() const { return *workspace_; }
    Workspace* operator->() const { return workspace_.get(); }

   private:
    WorkspacePool& pool_;
    std::unique_ptr<Workspace> workspace_;
    int n_exceptions_;
  };

  Lease borrow(bool with_branches = false);

 private:
  std::shared_ptr<Backend> backend_;
  DType activations_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace okapi
