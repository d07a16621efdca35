// A request to stop long work, given from any thread, seen by the worker between two pieces of
// work.
#pragma once

#include <atomic>

#include "runtime/base/error.h"

namespace okapi {

class CancelToken {
 public:
  void request() noexcept { requested_.store(true, std::memory_order_relaxed); }
  void reset() noexcept { requested_.store(false, std::memory_order_relaxed); }
  bool requested() const noexcept { return requested_.load(std::memory_order_relaxed); }

  /// Throws Code::cancelled once requested.
  void check() const {
    if (requested()) throw Error(Code::cancelled, "cancelled by the caller");
  }

 private:
  std::atomic<bool> requested_{false};
};

}  // namespace okapi
