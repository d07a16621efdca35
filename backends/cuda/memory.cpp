#include "backends/cuda/memory.h"

#include <algorithm>

#include "backends/cuda/checks.h"

namespace okapi::cuda {

namespace {

// Small blocks come in few sizes, so that what one tensor leaves fits the next; large ones waste at
// most an eighth.
size_t rounded_size(size_t bytes) {
  constexpr size_t kSmallest = 512;
  if (bytes <= kSmallest) return kSmallest;
  size_t power = kSmallest;
  while (power * 2 <= bytes && power * 2 > power) power *= 2;
  const size_t step = std::max(kSmallest, power / 8);
  const size_t rounded = (bytes + step - 1) / step * step;
  if (rounded < bytes) throw std::bad_alloc();  // wrapped around
  return rounded;
}

}  // namespace

MemoryPool::~MemoryPool() { give_idle_to_driver(); }

void* MemoryPool::allocate(size_t bytes) {
  const size_t size = rounded_size(bytes);
  const CurrentDevice current(device_);
  const std::lock_guard lock(mutex_);
  const auto idle = idle_.find(size);
  if (idle != idle_.end()) {
    void* const memory = idle->second;
    idle_.erase(idle);
    return memory;
  }
  void* memory = nullptr;
  if (cudaMalloc(&memory, size) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    give_idle_to_driver();
    check(cudaMalloc(&memory, size), "cudaMalloc");
  }
  try {
    sizes_.emplace(memory, size);
    taken_ += size;
    most_taken_ = std::max(most_taken_, taken_);
  } catch (...) {
    static_cast<void>(cudaFree(memory));
    throw;
  }
  return memory;
}

void MemoryPool::release(void* memory) noexcept {
  if (memory == nullptr) return;
  const std::lock_guard lock(mutex_);
  try {
    idle_.emplace(sizes_.at(memory), memory);
  } catch (...) {  // no host memory to remember it in
    const auto known = sizes_.find(memory);
    taken_ -= known->second;
    sizes_.erase(known);
    static_cast<void>(cudaFree(memory));
  }
}

DeviceMemory MemoryPool::memory() {
  const CurrentDevice current(device_);
  size_t free = 0;
  size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  const std::lock_guard lock(mutex_);
  for (const auto& [size, memory] : idle_) free += size;
  return {free, most_taken_};
}

void MemoryPool::give_idle_to_driver() noexcept {
  for (const auto& [size, memory] : idle_) {
    taken_ -= size;
    sizes_.erase(memory);
    static_cast<void>(cudaFree(memory));
  }
  idle_.clear();
}

void DeviceBuffer::grow(size_t bytes) {
  if (holds(bytes)) return;
  pool_.release(data_);
  data_ = nullptr;
  bytes_ = 0;
  data_ = pool_.allocate(bytes);
  bytes_ = bytes;
}

}  // namespace okapi::cuda
