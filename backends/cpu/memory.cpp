#include "backends/cpu/memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace okapi::cpu {

constexpr size_t kLineBytes = 64;
constexpr size_t kHugePageBytes = size_t{2} << 20;

void* allocate(size_t bytes) {
  const bool is_large = bytes >= 2 * kHugePageBytes;
  const size_t alignment = is_large ? kHugePageBytes : kLineBytes;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  if (rounded < bytes) throw std::bad_alloc();  // wrapped around
  void* const memory = std::aligned_alloc(alignment, rounded > 0 ? rounded : alignment);
  if (memory == nullptr) throw std::bad_alloc();
  if (is_large)
    madvise(memory, rounded, MADV_HUGEPAGE);  // a wish: without huge pages it works the same
  return memory;
}

void release(void* memory) noexcept { std::free(memory); }

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
