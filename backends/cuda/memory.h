// Device memory that is taken once and handed out again: asking the driver costs as much as a
// decoded layer, and giving back waits for everything on the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "backends/backend.h"

namespace okapi::cuda {

/// Safe from several threads. A block given back may serve another stream at once, so whoever gives
/// it back has waited for what used it, as the runtime does.
class MemoryPool {
 public:
  explicit MemoryPool(int device) : device_(device) {}
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// Aligned to 256 bytes. Throws std::bad_alloc, after the blocks that lie idle have been given to
  /// the driver and it still had none.
  void* allocate(size_t bytes);
  void release(void* memory) noexcept;

  /// Free is what the driver has left, and what lies idle here.
  DeviceMemory memory();

 private:
  void give_idle_to_driver() noexcept;

  int device_;
  std::mutex mutex_;
  std::multimap<size_t, void*> idle_;  ///< by size
  std::unordered_map<void*, size_t> sizes_;
  uint64_t taken_ = 0;  ///< from the driver
  uint64_t most_taken_ = 0;
};

/// A growing device buffer of one stream. Growing forgets the contents; the caller has waited.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(MemoryPool& pool) : pool_(pool) {}
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() { pool_.release(data_); }

  bool holds(size_t bytes) const { return bytes <= bytes_; }
  void grow(size_t bytes);
  void* data() const { return data_; }

 private:
  MemoryPool& pool_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace okapi::cuda
