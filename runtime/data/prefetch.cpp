#include "runtime/data/prefetch.h"

#include <algorithm>
#include <utility>

namespace okapi {

PrefetchingSource::PrefetchingSource(std::shared_ptr<const WindowSource> source,
                                     PrefetchOptions options)
    : source_(std::move(source)), options_(options) {
  options_.n_ahead = std::max<int64_t>(options_.n_ahead, 1);
  for (int i = 0; i < std::max(options_.n_threads, 1); ++i) {
    threads_.emplace_back([this] { work(); });
  }
}

PrefetchingSource::~PrefetchingSource() {
  {
    const std::scoped_lock lock(mutex_);
    is_stopping_ = true;
  }
  may_work_.notify_all();
}

void PrefetchingSource::work() const {
  std::unique_lock lock(mutex_);
  while (true) {
    may_work_.wait(
        lock, [&] { return is_stopping_ || (first_ >= 0 && next_ < first_ + options_.n_ahead); });
    if (is_stopping_) return;
    const int64_t index = next_++;
    const int64_t era = era_;
    slots_.try_emplace(index);

    lock.unlock();
    Slot made;
    try {
      made.window = source_->window(index);
    } catch (...) {
      made.error = std::current_exception();
    }
    made.is_ready = true;
    lock.lock();

    const auto slot = slots_.find(index);
    if (era == era_ && slot != slots_.end()) {
      slot->second = std::move(made);
      has_made_.notify_all();
    }
  }
}

TokenWindow PrefetchingSource::window(int64_t index) const {
  std::unique_lock lock(mutex_);
  const bool is_elsewhere =
      first_ < 0 || index < first_ - options_.n_ahead || index >= next_ + options_.n_ahead;
  if (index >= 0 && is_elsewhere) {
    first_ = index;
    next_ = index;
    ++era_;
    slots_.clear();
    has_made_.notify_all();  // readers whose windows are dropped here make their own
  } else if (index < next_ && !slots_.contains(index)) {
    lock.unlock();  // read before, or skipped
    return source_->window(index);
  }

  // Several readers do not come in order: what one has skipped is kept a while for the others.
  const int64_t era = era_;
  first_ = std::max(first_, index + 1);
  slots_.erase(slots_.begin(), slots_.lower_bound(first_ - options_.n_ahead));
  may_work_.notify_all();
  const auto is_settled = [&] {
    const auto slot = slots_.find(index);
    const bool is_gone = slot == slots_.end();
    return era != era_ || (index < next_ && (is_gone || slot->second.is_ready));
  };
  if (!is_settled()) {
    ++n_waits_;
    has_made_.wait(lock, is_settled);
  }
  const auto slot = era == era_ ? slots_.find(index) : slots_.end();
  if (slot == slots_.end()) {
    lock.unlock();
    return source_->window(index);
  }
  Slot taken = std::move(slot->second);
  slots_.erase(slot);
  lock.unlock();
  if (taken.error != nullptr) std::rethrow_exception(taken.error);
  return std::move(taken.window);
}

int64_t PrefetchingSource::n_waits() const {
  const std::scoped_lock lock(mutex_);
  return n_waits_;
}

}  // namespace okapi
