#include "runtime/kv_cache/page_pool.h"

namespace okapi {

namespace {

// Enough for a few short sequences to come and go without asking the device for memory; little
// enough that a pool whose sequences have gone does not hold on to what they took.
constexpr size_t kKeptBytes = size_t{64} << 20;

}  // namespace

PageRef::~PageRef() {
  if (page_ && page_->n_refs.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    page_->pool->give_back(page_);
  }
}

PagePool::PagePool(std::shared_ptr<Backend> backend, const KvLayout& layout)
    : backend_(std::move(backend)),
      layout_(layout),
      n_kept_at_most_(kKeptBytes / layout.page_bytes()) {
  free_.reserve(n_kept_at_most_);  // so that giving back never allocates
}

PagePool::~PagePool() {
  for (PageRef::Page* page : free_) {
    backend_->release(page->memory);
    delete page;
  }
}

PageRef PagePool::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      PageRef::Page* page = free_.back();
      free_.pop_back();
      page->n_refs.store(1, std::memory_order_relaxed);
      n_in_use_.fetch_add(1, std::memory_order_relaxed);
      return PageRef(page);
    }
  }
  auto page = std::make_unique<PageRef::Page>();
  page->memory = backend_->allocate(layout_.page_bytes());
  page->pool = this;
  n_in_use_.fetch_add(1, std::memory_order_relaxed);
  return PageRef(page.release());
}

void PagePool::give_back(PageRef::Page* page) noexcept {
  n_in_use_.fetch_sub(1, std::memory_order_relaxed);
  {
    const std::lock_guard lock(mutex_);
    if (free_.size() < n_kept_at_most_) {
      free_.push_back(page);
      return;
    }
  }
  backend_->release(page->memory);
  delete page;
}

}  // namespace okapi
