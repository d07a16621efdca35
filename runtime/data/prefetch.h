// Windows made ahead of their reader, so that tokenising never keeps training waiting.
//
//   PrefetchingSource ahead(source, {.n_ahead = 64});
//   TokenWindow window = ahead.window(0);  // 1, 2, 3 ... are made meanwhile
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/data/window_source.h"

namespace okapi {

struct PrefetchOptions {
  int64_t n_ahead = 64;  ///< windows made ahead; at most twice as many are in memory
  int n_threads = 1;
};

/// The same windows under the same numbers. Threads make those after the last one read; to read
/// elsewhere (training goes on from a checkpoint) moves them there. What goes wrong is thrown where
/// its window is read. Thread-safe.
class PrefetchingSource : public WindowSource {
 public:
  explicit PrefetchingSource(std::shared_ptr<const WindowSource> source,
                             PrefetchOptions options = {});
  /// Waits for the windows that are just being made.
  ~PrefetchingSource() override;
  PrefetchingSource(const PrefetchingSource&) = delete;
  PrefetchingSource& operator=(const PrefetchingSource&) = delete;

  int64_t count() const override { return source_->count(); }
  TokenWindow window(int64_t index) const override;
  int64_t max_tokens() const override { return source_->max_tokens(); }
  Json describe() const override { return source_->describe(); }

  /// Windows asked for that were not ready: how often the reader waited.
  int64_t n_waits() const;

 private:
  struct Slot {
    bool is_ready = false;
    TokenWindow window;
    std::exception_ptr error;
  };

  void work() const;

  std::shared_ptr<const WindowSource> source_;
  PrefetchOptions options_;

  mutable std::mutex mutex_;  ///< of all below
  mutable std::condition_variable may_work_;
  mutable std::condition_variable has_made_;
  mutable int64_t first_ = -1;  ///< the window that is read next; -1: none was asked for yet
  mutable int64_t next_ = 0;    ///< the window to be made next
  mutable int64_t era_ = 0;  ///< counts the moves, so that what was made for an old one is dropped
  mutable std::map<int64_t, Slot> slots_;  ///< being made, or made
  mutable int64_t n_waits_ = 0;
  bool is_stopping_ = false;

  std::vector<std::jthread> threads_;
};

}  // namespace okapi
