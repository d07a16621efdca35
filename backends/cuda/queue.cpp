#include "backends/cuda/queue.h"

#include <algorithm>

#include "backends/cuda/checks.h"

namespace okapi::cuda {

namespace {

constexpr size_t kStagingBytes = size_t{1} << 20;
constexpr size_t kFewestInGraph = 8;  // below this a graph saves nothing
constexpr size_t kMostGraphs = 256;

// Few enough that the device has its first soon, many enough that it is busy with them until the
// next are there.
constexpr size_t kLaunchesAtOnce = 48;

}  // namespace

std::vector<void*> LaunchList::arguments(const Launch& launch) {
  std::vector<void*> addresses(launch.n_arguments);
  for (uint32_t i = 0; i < launch.n_arguments; ++i) {
    addresses[i] = bytes_.data() + offsets_[launch.first_argument + i];
  }
  return addresses;
}

// FNV-1a over words: quick, and equality is checked byte by byte afterwards.
uint64_t LaunchList::hash() const {
  uint64_t hash = 0xCBF29CE484222325;
  const auto add = [&hash](const void* data, size_t bytes) {
    const auto* const from = static_cast<const std::byte*>(data);
    for (size_t i = 0; i + sizeof(uint64_t) <= bytes; i += sizeof(uint64_t)) {
      uint64_t word = 0;
      std::memcpy(&word, from + i, sizeof(word));
      hash = (hash ^ word) * 0x100000001B3;
      hash ^= hash >> 29;
    }
  };
  add(launches_.data(), launches_.size() * sizeof(Launch));
  add(bytes_.data(), bytes_.size());
  return hash;
}

bool LaunchList::operator==(const LaunchList& other) const {
  // Not by vectors' own ==, which looks at bytes one by one.
  return launches_.size() == other.launches_.size() && bytes_.size() == other.bytes_.size() &&
         offsets_ == other.offsets_ &&
         std::memcmp(bytes_.data(), other.bytes_.data(), bytes_.size()) == 0 &&
         std::memcmp(launches_.data(), other.launches_.data(), launches_.size() * sizeof(Launch)) ==
             0;
}

void LaunchList::clear() {
  launches_.clear();
  offsets_.clear();
  bytes_.clear();
}

Staging::~Staging() {
  if (host_ != nullptr) static_cast<void>(cudaFreeHost(host_));
}

bool Staging::send(cudaStream_t stream) {
  if (sent_ == used_) return false;
  check(cudaMemcpyAsync(static_cast<std::byte*>(device_.data()) + sent_,
                        static_cast<const std::byte*>(host_) + sent_, used_ - sent_,
                        cudaMemcpyHostToDevice, stream),
        "cudaMemcpyAsync");
  sent_ = used_;
  return true;
}

void Staging::grow(size_t bytes) {
  reset();
  if (bytes <= capacity_) return;
  capacity_ = 0;
  if (host_ != nullptr) check(cudaFreeHost(host_), "cudaFreeHost");
  host_ = nullptr;
  check(cudaHostAlloc(&host_, bytes, cudaHostAllocDefault), "cudaHostAlloc");
  device_.grow(bytes);
  capacity_ = bytes;
}

Staging::Place Staging::take(size_t bytes) {
  const Place place{static_cast<std::byte*>(host_) + used_,
                    static_cast<std::byte*>(device_.data()) + used_};
  used_ += bytes;
  return place;
}

Queue::Queue(MemoryPool& pool, const QueueOptions& options)
    : begins_early_(options.begins_early),
      stream_(options.stream),
      direct_(pool),
      collected_(pool) {
  // Not the default stream's slave: an embedder's own work goes on beside it.
  if (stream_ == nullptr) {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    capture_stream_ = stream_;
  }
  check(cudaEventCreateWithFlags(&staged_, cudaEventDisableTiming), "cudaEventCreateWithFlags");
}

Queue::~Queue() {
  if (stream_ != nullptr) static_cast<void>(cudaStreamSynchronize(stream_));
  forget_graphs();
  if (staged_ != nullptr) static_cast<void>(cudaEventDestroy(staged_));
  if (capture_stream_ != nullptr) static_cast<void>(cudaStreamDestroy(capture_stream_));
}

void Queue::begin(int64_t n_rows) {
  const bool collects = n_rows <= kFewRows;
  if (collects == collecting_) return;
  flush();
  collecting_ = collects;
  ++epoch_;
}

void Queue::allow_shared_memory(const void* kernel, size_t bytes) {
  constexpr size_t kAlwaysAllowed = size_t{48} << 10;
  if (bytes <= kAlwaysAllowed) return;
  for (auto& [known, allowed] : shared_memory_allowed_) {
    if (known == kernel && allowed >= bytes) return;
  }
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(bytes)),
        "cudaFuncSetAttribute");
  shared_memory_allowed_.emplace_back(kernel, bytes);
}

const void* Queue::stage(const void* data, size_t bytes) {
  constexpr size_t kAlignment = 256;
  const size_t size = std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  Staging& staging = collecting_ ? collected_ : direct_;
  if (collecting_ && staged_is_pending_) {
    check(cudaEventSynchronize(staged_), "cudaEventSynchronize");
    staged_is_pending_ = false;
  }
  if (!staging.holds(size)) {
    synchronize();
    if (!staging.holds(size)) {
      if (collecting_) forget_graphs();  // they know the old address
      staging.grow(std::max(kStagingBytes, 2 * size));
    }
  }
  const Staging::Place place = staging.take(size);
  std::memcpy(place.host, data, bytes);
  if (!collecting_) staging.send(stream_);
  return place.device;
}

cudaStream_t Queue::stream() {
  flush();
  return stream_;
}

void Queue::synchronize() {
  flush();
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  direct_.reset();
  ++epoch_;
}

void Queue::was_added() {
  if (!collecting_ || list_.size() >= kLaunchesAtOnce) send();
}

/// Hands the device what has been collected so far. What is staged stays where it is.
void Queue::send() {
  if (!collecting_) {
    run_list(stream_);
    return;
  }
  if (collected_.send(stream_)) {
    check(cudaEventRecord(staged_, stream_), "cudaEventRecord");
    was_staged_ = true;
  }
  if (list_.empty()) return;
  ++n_flushes_;
  Graph* const graph = list_.size() >= kFewestInGraph ? find_or_remember() : nullptr;
  if (graph != nullptr) {
    run_graph(*graph);
    list_.clear();
  } else {
    run_list(stream_);
  }
}

/// The end of a pass: the next one is staged from the front again.
void Queue::flush() {
  if (!collecting_) return;
  send();
  if (!was_staged_) return;
  was_staged_ = false;
  staged_is_pending_ = true;
  collected_.reset();
  ++epoch_;
}

/// The graph of this list if it was seen before; otherwise it is now known.
Queue::Graph* Queue::find_or_remember() {
  const uint64_t hash = list_.hash();
  for (const std::unique_ptr<Graph>& graph : graphs_) {
    if (graph->hash == hash && graph->list == list_) {
      graph->last_used = n_flushes_;
      return graph.get();
    }
  }
  if (graphs_.size() >= kMostGraphs) {
    const auto oldest =
        std::min_element(graphs_.begin(), graphs_.end(),
                         [](const auto& a, const auto& b) { return a->last_used < b->last_used; });
    if ((*oldest)->executable != nullptr) {
      check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
      static_cast<void>(cudaGraphExecDestroy((*oldest)->executable));
    }
    graphs_.erase(oldest);
  }
  graphs_.push_back(std::make_unique<Graph>());
  graphs_.back()->list = list_;
  graphs_.back()->hash = hash;
  graphs_.back()->last_used = n_flushes_;
  return nullptr;
}

void Queue::run_list(cudaStream_t stream) {
  for (const Launch& launch : list_.launches()) {
    std::vector<void*> arguments = list_.arguments(launch);
    cudaLaunchConfig_t config = {};
    config.gridDim = {launch.grid[0], launch.grid[1], launch.grid[2]};
    config.blockDim = {launch.block[0], launch.block[1], launch.block[2]};
    config.dynamicSmemBytes = launch.shared_bytes;
    config.stream = stream;
    // A kernel may start while the one before it drains: all of ours wait for it themselves before
    // they touch what it wrote (device.cuh).
    cudaLaunchAttribute overlap = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    config.attrs = &overlap;
    // What is read ahead may have been written just before: by anything before a pass that is
    // collected, never within it.
    const bool is_first = &launch == &list_.launches().front();
    const bool waits_for_end = collecting_ ? is_first : launch.reads_ahead != 0;
    config.numAttrs = begins_early_ && !waits_for_end ? 1 : 0;
    const cudaError_t status = cudaLaunchKernelExC(&config, launch.kernel, arguments.data());
    if (status != cudaSuccess) {
      list_.clear();
      check(status, "cudaLaunchKernelExC");
    }
  }
  list_.clear();
}

void Queue::run_graph(Graph& graph) {
  if (graph.executable == nullptr) {
    if (capture_stream_ == nullptr) {
      check(cudaStreamCreateWithFlags(&capture_stream_, cudaStreamNonBlocking),
            "cudaStreamCreateWithFlags");
    }
    check(cudaStreamBeginCapture(capture_stream_, cudaStreamCaptureModeThreadLocal),
          "cudaStreamBeginCapture");
    cudaGraph_t captured = nullptr;
    try {
      run_list(capture_stream_);
    } catch (...) {
      static_cast<void>(cudaStreamEndCapture(capture_stream_, &captured));
      if (captured != nullptr) static_cast<void>(cudaGraphDestroy(captured));
      throw;
    }
    check(cudaStreamEndCapture(capture_stream_, &captured), "cudaStreamEndCapture");
    const cudaError_t status = cudaGraphInstantiate(&graph.executable, captured, 0);
    static_cast<void>(cudaGraphDestroy(captured));
    check(status, "cudaGraphInstantiate");
  }
  check(cudaGraphLaunch(graph.executable, stream_), "cudaGraphLaunch");
}

void Queue::forget_graphs() noexcept {
  for (const std::unique_ptr<Graph>& graph : graphs_) {
    if (graph->executable != nullptr) static_cast<void>(cudaGraphExecDestroy(graph->executable));
  }
  graphs_.clear();
}

}  // namespace okapi::cuda
