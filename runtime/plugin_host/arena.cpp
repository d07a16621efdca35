#include "runtime/plugin_host/arena.h"

#include <algorithm>
#include <new>

namespace okapi {

namespace {

constexpr size_t kBlockBytes = 16384;
constexpr size_t kAlignment = alignof(std::max_align_t);

}  // namespace

Arena::Arena() {
  table_.struct_size = sizeof table_;
  table_.context = this;
  table_.allocate = [](const okapi_arena* arena, size_t n_bytes) -> void* {
    try {
      return static_cast<Arena*>(arena->context)->allocate(n_bytes);
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  };
}

void* Arena::allocate(size_t n_bytes) {
  if (n_bytes > SIZE_MAX - kAlignment) throw std::bad_alloc();
  const size_t rounded = (std::max<size_t>(n_bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  if (rounded > kBlockBytes / 4) {
    // new[] of a large array is aligned for any type, and () zeroes it.
    return blocks_.emplace_back(new std::byte[rounded]()).get();
  }
  if (rounded > left_) {
    next_ = blocks_.emplace_back(new std::byte[kBlockBytes]()).get();
    left_ = kBlockBytes;
  }
  std::byte* memory = next_;
  next_ += rounded;
  left_ -= rounded;
  return memory;
}

}  // namespace okapi
