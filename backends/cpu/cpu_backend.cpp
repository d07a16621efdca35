#include "backends/cpu/cpu_backend.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>

#include "backends/cpu/threads.h"

namespace okapi::cpu {

namespace {

int checked_threads(const BackendOptions& options) {
  if (options.n_threads < 0) {
    throw BackendError("n_threads: wanted 0 (one per core) or more, found " +
                       std::to_string(options.n_threads));
  }
  if (options.device_index != 0) {
    throw BackendError("device_index: the CPU is device 0, found " +
                       std::to_string(options.device_index));
  }
  if (options.device_stream != nullptr) {
    throw BackendError("device_stream: the CPU has no streams; wanted NULL, or the backend cuda");
  }
  return most_threads(options.n_threads > 0 ? options.n_threads : omp_get_num_procs());
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

}  // namespace

Shared::Shared(const BackendOptions& options)
    : kernels(select_kernels(options.variant.c_str())), n_threads(checked_threads(options)) {}

void CpuStream::upload(void* device, const void* host, size_t bytes) {
  std::memcpy(device, host, bytes);
}
void CpuStream::download(void* host, const void* device, size_t bytes) {
  std::memcpy(host, device, bytes);
}
void CpuStream::copy(void* device_to, const void* device_from, size_t bytes) {
  std::memmove(device_to, device_from, bytes);
}

std::string CpuBackend::device() const {
  return processor_name() + ", " + std::to_string(shared_->n_threads) + " threads, " +
         shared_->kernels.name + " kernels, " + OneDnn::version();
}

std::unique_ptr<PreparedWeight> CpuBackend::prepare_weight(
    std::span<const ConstTensorView> row_blocks, DType keep) {
  const ThreadLimit limit(shared_->n_threads);
  return std::make_unique<CpuWeight>(row_blocks, keep, weights_);
}

std::unique_ptr<PreparedWeight> CpuBackend::trainable_weight(TensorView master, DType activations) {
  if (!computes_in(activations)) throw BackendError("trainable_weight: the CPU computes in f32");
  return std::make_unique<CpuWeight>(master);
}

TrainingScratch CpuBackend::scratch(const TrainingStreamOptions& /*options*/, int64_t n_sequences,
                                    int64_t n_tokens, const HeadLayout& heads, int64_t vocab_size,
                                    DType /*activations*/) const {
  const int64_t n_rows = n_sequences * n_tokens;
  const auto n_logits = static_cast<size_t>(std::min(kLogitsPerChunk, n_rows * vocab_size));
  const auto n_gathered = static_cast<size_t>(n_rows * 2 * heads.n_kv_heads * heads.head_dim);
  return {n_logits * sizeof(float), n_gathered * sizeof(float)};
}

MatmulMeasurement CpuBackend::measure_matmul(int64_t m, int64_t n, int64_t k, DType dtype) {
  const ThreadLimit limit(shared_->n_threads);
  return shared_->library.measure(m, n, k, dtype);
}

double CpuBackend::measure_read_bandwidth(size_t bytes) {
  const ThreadLimit limit(shared_->n_threads);
  constexpr int kRuns = 5;
  constexpr int64_t kGrain = 16384;  // floats, so that every thread reads whole pages
  const int64_t n = std::max<int64_t>(kGrain, static_cast<int64_t>(bytes / sizeof(float)));
  const auto data = make_buffer<float>(static_cast<size_t>(n));
  parallel_ranges(n, kGrain, n, [&](int64_t begin, int64_t end) {
    std::fill(data.get() + begin, data.get() + end, 1.0F);
  });
  double best_seconds = 0;
  for (int run = 0; run < kRuns; ++run) {
    const auto begin_time = std::chrono::steady_clock::now();
    parallel_ranges(n, kGrain, n, [&](int64_t begin, int64_t end) {
      [[maybe_unused]] volatile const float kept =
          shared_->kernels.read(data.get() + begin, end - begin);
    });
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin_time;
    best_seconds = run == 0 ? taken.count() : std::min(best_seconds, taken.count());
  }
  return static_cast<double>(n) * sizeof(float) / best_seconds;
}

}  // namespace okapi::cpu
