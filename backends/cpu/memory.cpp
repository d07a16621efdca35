#include "backends/cpu/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace okapi::cpu {

constexpr size_t kLineBytes = 64;
constexpr size_t kSmallPageBytes = 4096;
constexpr size_t kHugePageBytes = size_t{2} << 20;

void* allocate(size_t bytes) {
  // A large block begins with a huge page; its last, partial one stays small, so nothing is wasted.
  const size_t alignment = bytes >= kHugePageBytes ? kHugePageBytes : kLineBytes;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes > 0 ? bytes : 1) != 0) throw std::bad_alloc();
  // A wish: without huge pages everything works the same.
  if (bytes >= kHugePageBytes) {
    madvise(memory, bytes / kSmallPageBytes * kSmallPageBytes, MADV_HUGEPAGE);
  }
  return memory;
}

void release(void* memory) noexcept { std::free(memory); }

std::shared_ptr<std::byte> Arena::take(size_t bytes) {
  // Address space, not memory: what is not touched is not backed.
  constexpr size_t kBlockBytes = size_t{64} << 20;
  const std::lock_guard lock(mutex_);
  const size_t rounded = (bytes + kLineBytes - 1) / kLineBytes * kLineBytes;
  if (rounded < bytes) throw std::bad_alloc();  // wrapped around
  if (!block_ || size_ - used_ < rounded) {
    const size_t size = std::max(rounded, kBlockBytes);
    block_ = std::shared_ptr<std::byte>(static_cast<std::byte*>(allocate(size)), Releaser());
    size_ = size;
    used_ = 0;
  }
  std::byte* const piece = block_.get() + used_;
  used_ += rounded;
  return {block_, piece};
}

void* Scratch::get_bytes(ScratchUse use, size_t bytes) {
  Block& block = blocks_[static_cast<size_t>(use)];
  if (block.bytes < bytes || !block.memory) {
    block.memory.reset();  // first, so that the old and the new one never stand side by side
    block.bytes = 0;
    block.memory = make_buffer<std::byte>(bytes);
    block.bytes = bytes;
  }
  return block.memory.get();
}

}  // namespace okapi::cpu
