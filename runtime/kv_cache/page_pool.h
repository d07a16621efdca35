// Pages of keys and values, counted by reference so that sequences may share a prefix.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "backends/backend.h"

namespace okapi {

class PagePool;

/// A share in one page. The pool must outlive it.
class PageRef {
 public:
  PageRef() = default;
  PageRef(const PageRef& other) : page_(other.page_) {
    if (page_) page_->n_refs.fetch_add(1, std::memory_order_relaxed);
  }
  PageRef(PageRef&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  PageRef& operator=(PageRef other) noexcept {
    std::swap(page_, other.page_);
    return *this;
  }
  ~PageRef();

  void* memory() const { return page_->memory; }

  /// Whether another sequence reads this page. Acquires: once it is false, the others' reads are
  /// over.
  bool is_shared() const { return page_->n_refs.load(std::memory_order_acquire) > 1; }

 private:
  friend class PagePool;
  struct Page {
    std::atomic<int64_t> n_refs{1};
    void* memory = nullptr;
    PagePool* pool = nullptr;
  };

  explicit PageRef(Page* page) : page_(page) {}

  Page* page_ = nullptr;
};

/// Hands out pages of one layout; safe from several threads. A few free ones are kept for the next
/// sequence, the rest goes back to the backend.
class PagePool {
 public:
  PagePool(std::shared_ptr<Backend> backend, const KvLayout& layout);
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  const KvLayout& layout() const { return layout_; }

  /// A page nobody else has; contents undefined. Throws std::bad_alloc.
  PageRef take();

  int64_t n_pages_in_use() const { return n_in_use_.load(std::memory_order_relaxed); }

 private:
  friend class PageRef;
  void give_back(PageRef::Page* page) noexcept;

  std::shared_ptr<Backend> backend_;
  KvLayout layout_;
  size_t n_kept_at_most_;
  std::atomic<int64_t> n_in_use_{0};
  std::mutex mutex_;
  std::vector<PageRef::Page*> free_;
};

}  // namespace okapi
