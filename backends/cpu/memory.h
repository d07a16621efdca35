// Host memory that suits vector loads and large reads, and the scratch buffers of a stream.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <mutex>

namespace okapi::cpu {

/// At least 64-byte aligned, uninitialised. Large blocks ask for huge pages. Throws std::bad_alloc.
void* allocate(size_t bytes);
void release(void* memory) noexcept;

struct Releaser {
  void operator()(void* memory) const noexcept { release(memory); }
};
template <typename T>
using Buffer = std::unique_ptr<T[], Releaser>;

template <typename T>
Buffer<T> make_buffer(size_t count) {
  return Buffer<T>(static_cast<T*>(allocate(count * sizeof(T))));
}

/// Hands out pieces of large blocks, for what is kept long and read often. A decode step reads
/// every weight once, and most matrices are too small to fill huge pages of their own: with small
/// pages the translation of addresses costs a third of the bandwidth (25 against 38 GB/s). A block
/// goes when its last piece does. Callable from any thread.
class Arena {
 public:
  std::shared_ptr<std::byte> take(size_t bytes);

 private:
  std::mutex mutex_;
  std::shared_ptr<std::byte> block_;
  size_t used_ = 0;
  size_t size_ = 0;
};

/// What a scratch buffer is for. Different uses within one operation need different buffers.
enum class ScratchUse {
  weight_block,
  logits,
  row_state,
  attention,
  attention_parts,
  attention_keys,
  partial_sums,
  token_rows,
  library,
  count
};

/// Buffers that grow to the largest size asked for and stay.
class Scratch {
 public:
  template <typename T>
  T* get(ScratchUse use, size_t count) {
    return static_cast<T*>(get_bytes(use, count * sizeof(T)));
  }

 private:
  void* get_bytes(ScratchUse use, size_t bytes);

  struct Block {
    Buffer<std::byte> memory;
    size_t bytes = 0;
  };
  std::array<Block, static_cast<size_t>(ScratchUse::count)> blocks_;
};

}  // namespace okapi::cpu
