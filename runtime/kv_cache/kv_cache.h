// The keys and values of one sequence, in pages. Copying a cache shares its pages; whoever then
// writes into a shared one gets a copy of it first. Memory grows with the length, page by page.
//
//   cache.reserve(n_new, stream);   // room, in pages of its own
//   ... a pass over the model writes at n_tokens() .. n_tokens() + n_new - 1 ...
//   cache.advance(n_new);           // or truncate(n_tokens()) if the pass failed
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/kv_cache/page_pool.h"

namespace okapi {

class KvCache {
 public:
  explicit KvCache(std::shared_ptr<PagePool> pool) : pool_(std::move(pool)) {}

  int64_t n_tokens() const { return n_tokens_; }
  const KvLayout& layout() const { return pool_->layout(); }

  /// Room for `n_more` tokens after those held. The page they begin in is copied on `stream` if
  /// another sequence shares it. Throws std::bad_alloc, having changed nothing that is held.
  void reserve(int64_t n_more, Stream& stream);

  /// The next `n` tokens have been written, and the stream that did so has finished.
  void advance(int64_t n);

  /// Holds only the first `n_tokens`; pages past them, reserved ones included, are given back.
  void truncate(int64_t n_tokens);

  /// Addresses of the pages, reserved ones included.
  std::span<void* const> pages() const { return addresses_; }

  /// Memory of the pages held, shared ones counted in full.
  size_t bytes() const { return pages_.size() * layout().page_bytes(); }

 private:
  int64_t pages_for(int64_t n_tokens) const;

  std::shared_ptr<PagePool> pool_;  // before the pages: they go first
  int64_t n_tokens_ = 0;
  std::vector<PageRef> pages_;
  std::vector<void*> addresses_;  // of pages_, as attention wants them
  std::vector<PageRef> retired_;  // sources of copies that a stream may still be reading
};

}  // namespace okapi
