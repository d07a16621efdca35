#include "runtime/kv_cache/kv_cache.h"

#include <algorithm>

namespace okapi {

int64_t KvCache::pages_for(int64_t n_tokens) const {
  return (n_tokens + layout().page_tokens - 1) / layout().page_tokens;
}

void KvCache::reserve(int64_t n_more, Stream& stream) {
  const auto n_needed = static_cast<size_t>(pages_for(n_tokens_ + n_more));
  if (n_needed > pages_.size()) {
    // Doubling, so that a long decode does not move its page list at every page.
    if (n_needed > pages_.capacity()) {
      const size_t n_reserved = std::max(n_needed, 2 * pages_.size());
      pages_.reserve(n_reserved);
      addresses_.reserve(n_reserved);
    }
  }

  const auto writes_from = static_cast<size_t>(n_tokens_ / layout().page_tokens);
  const bool partly_full = n_tokens_ % layout().page_tokens != 0;
  if (partly_full && pages_[writes_from].is_shared()) {
    retired_.reserve(retired_.size() + 1);
    PageRef own = pool_->take();
    stream.copy(own.memory(), pages_[writes_from].memory(), layout().page_bytes());
    addresses_[writes_from] = own.memory();
    std::swap(pages_[writes_from], own);
    retired_.push_back(std::move(own));
  }

  while (pages_.size() < n_needed) {
    PageRef page = pool_->take();
    addresses_.push_back(page.memory());
    pages_.push_back(std::move(page));
  }
}

void KvCache::advance(int64_t n) {
  n_tokens_ += n;
  retired_.clear();
}

void KvCache::truncate(int64_t n_tokens) {
  n_tokens_ = std::min(n_tokens_, n_tokens);
  const auto n_kept = static_cast<size_t>(pages_for(n_tokens_));
  pages_.resize(std::min(pages_.size(), n_kept));
  addresses_.resize(pages_.size());
  retired_.clear();
}

}  // namespace okapi
