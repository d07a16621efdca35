// How a stream's kernels reach the device.
//
// Passes over few tokens (decoding) are made of some hundred kernels of a few microseconds, and
// starting each by itself would take longer than running it. So the launches of such a pass are
// collected and go out some dozens at a time, each as one CUDA graph, so that the device works on
// the first while the host is still at the rest. A graph is made when the same launches are seen a
// second time: what differs between two steps (token ids,
// lengths, pages) is not among the arguments of kernels but lies in device memory, staged from the
// host before each run.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "backends/cuda/memory.h"

namespace okapi::cuda {

/// Within a pass that is collected, kernels begin before the one before them has ended, and read
/// ahead what no kernel of such a pass writes: weights, and keys of passes before. Whoever writes
/// these stands outside (begin() with more rows).
///
/// Passes of at most this many rows are collected; it is also the most that the products for few
/// rows take.
constexpr int64_t kFewRows = 32;

/// A kernel launch as bytes, so that two passes can be compared.
struct Launch {
  const void* kernel = nullptr;
  uint32_t grid[3] = {};
  uint32_t block[3] = {};
  uint32_t shared_bytes = 0;
  uint32_t first_argument = 0;  ///< in the list of offsets
  uint32_t n_arguments = 0;
  uint32_t reads_ahead = 0;  // no padding: launches are compared as bytes
};

class LaunchList {
 public:
  template <typename... Parameters>
  void add(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
           std::type_identity_t<Parameters>... arguments) {
    static_assert((std::is_trivially_copyable_v<Parameters> && ...));
    Launch launch;
    launch.kernel = reinterpret_cast<const void*>(kernel);
    launch.grid[0] = grid.x, launch.grid[1] = grid.y, launch.grid[2] = grid.z;
    launch.block[0] = block.x, launch.block[1] = block.y, launch.block[2] = block.z;
    launch.shared_bytes = static_cast<uint32_t>(shared_bytes);
    launch.first_argument = static_cast<uint32_t>(offsets_.size());
    launch.n_arguments = sizeof...(Parameters);
    (add_argument(&arguments, sizeof(arguments)), ...);
    launches_.push_back(launch);
  }

  void last_reads_ahead() { launches_.back().reads_ahead = 1; }

  bool empty() const { return launches_.empty(); }
  size_t size() const { return launches_.size(); }
  const std::vector<Launch>& launches() const { return launches_; }
  /// Addresses of one launch's arguments; they point into this list.
  std::vector<void*> arguments(const Launch& launch);
  uint64_t hash() const;
  bool operator==(const LaunchList& other) const;
  void clear();

 private:
  void add_argument(const void* value, size_t bytes) {
    constexpr size_t kAlignment = 16;
    const size_t at = (bytes_.size() + kAlignment - 1) / kAlignment * kAlignment;
    bytes_.resize(at + bytes);
    std::memcpy(bytes_.data() + at, value, bytes);
    offsets_.push_back(static_cast<uint32_t>(at));
  }

  std::vector<Launch> launches_;
  std::vector<uint32_t> offsets_;
  std::vector<std::byte> bytes_;
};

/// Pinned host memory and as much device memory, filled from the front.
class Staging {
 public:
  explicit Staging(MemoryPool& pool) : device_(pool) {}
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging();

  bool holds(size_t bytes) const { return used_ + bytes <= capacity_; }
  /// Copies what has been staged since the last time; false if there was nothing.
  bool send(cudaStream_t stream);
  /// Makes room for that many bytes from the front on; what was staged is lost.
  void grow(size_t bytes);
  void reset() { used_ = sent_ = 0; }

  struct Place {
    void* host;
    void* device;
  };
  Place take(size_t bytes);

 private:
  void* host_ = nullptr;
  DeviceBuffer device_;
  size_t capacity_ = 0;
  size_t used_ = 0;
  size_t sent_ = 0;
};

struct QueueOptions {
  cudaStream_t stream = nullptr;  ///< the caller's, which outlives the queue; null: one of its own
  bool begins_early = false;  ///< kernels wait for the one before them (wait_for_previous_kernel)
};

class Queue {
 public:
  Queue(MemoryPool& pool, const QueueOptions& options);
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  ~Queue();

  /// Every operation begins with this: the number of rows it works on decides whether its launches
  /// are collected.
  void begin(int64_t n_rows);
  bool is_collecting() const { return collecting_; }

  template <typename... Parameters>
  void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
              std::type_identity_t<Parameters>... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    allow_shared_memory(reinterpret_cast<const void*>(kernel), shared_bytes);
    list_.add(kernel, grid, block, shared_bytes, arguments...);
    was_added();
  }

  /// The same for a kernel that reads weights before it waits for the one before: outside passes
  /// that are collected, where that one may have written them, it begins after its end.
  template <typename... Parameters>
  void launch_reading_ahead(void (*kernel)(Parameters...), dim3 grid, dim3 block,
                            size_t shared_bytes, std::type_identity_t<Parameters>... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    allow_shared_memory(reinterpret_cast<const void*>(kernel), shared_bytes);
    list_.add(kernel, grid, block, shared_bytes, arguments...);
    list_.last_reads_ahead();
    was_added();
  }

  /// A device copy of host bytes for the launches that follow, good as long as epoch() stays.
  const void* stage(const void* data, size_t bytes);
  uint64_t epoch() const { return epoch_; }

  /// The stream with everything queued so far in it, for copies and libraries.
  cudaStream_t stream();
  void synchronize();

 private:
  struct Graph {
    LaunchList list;
    uint64_t hash = 0;  ///< of the list
    cudaGraphExec_t executable = nullptr;
    uint64_t last_used = 0;
  };

  void allow_shared_memory(const void* kernel, size_t bytes);
  void was_added();
  void send();
  void flush();
  void run_list(cudaStream_t stream);
  void run_graph(Graph& graph);
  Graph* find_or_remember();
  void forget_graphs() noexcept;

  const bool begins_early_;
  cudaStream_t stream_ = nullptr;
  /// Where graphs are captured: stream_, or, if that is the caller's, one of its own, made when it
  /// is needed.
  cudaStream_t capture_stream_ = nullptr;
  cudaEvent_t staged_ = nullptr;    ///< after the copy of what was collected
  bool was_staged_ = false;         ///< something of this pass
  bool staged_is_pending_ = false;  ///< something of the pass before may still be on its way
  bool collecting_ = false;
  uint64_t epoch_ = 1;
  LaunchList list_;
  Staging direct_;
  Staging collected_;
  std::vector<std::unique_ptr<Graph>> graphs_;
  uint64_t n_flushes_ = 0;
  std::vector<std::pair<const void*, size_t>> shared_memory_allowed_;
};

}  // namespace okapi::cuda
