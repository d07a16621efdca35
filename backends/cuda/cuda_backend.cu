#include "backends/cuda/cuda_backend.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "backends/cuda/checks.h"
#include "backends/cuda/device.cuh"

namespace okapi::cuda {

namespace {

int checked_device(const BackendOptions& options) {
  if (options.n_threads < 0) {
    throw BackendError("n_threads: wanted 0 (one per core) or more, found " +
                       std::to_string(options.n_threads));
  }
  int n_devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&n_devices);
  if (status != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    throw BackendError(std::string("there is no usable NVIDIA driver or device: ") +
                       cudaGetErrorString(status));
  }
  if (options.device_index < 0 || options.device_index >= n_devices) {
    throw BackendError("device_index: wanted one below " + std::to_string(n_devices) +
                       ", the number of NVIDIA devices, found " +
                       std::to_string(options.device_index));
  }
  cudaDeviceProp properties = {};
  check(cudaGetDeviceProperties(&properties, options.device_index), "cudaGetDeviceProperties");
  constexpr int kOldest = 8;  // Ampere: bf16 products and asynchronous copies
  if (properties.major < kOldest) {
    throw BackendError(std::string(properties.name) + " has compute capability " +
                       std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                       "; wanted 8.0 or later");
  }
  return options.device_index;
}

/// Numbers of both signs between -1 and 1: a product of zeros runs faster than one of data.
template <typename T>
__global__ void fill_kernel(T* out, int64_t n, uint32_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761U + seed;
    x ^= x >> 15;
    x *= 2246822519U;
    x ^= x >> 13;
    out[i] = from_float<T>(static_cast<float>(x >> 8) * 0x1p-23F - 1.0F);
  }
}

/// Whether kernels wait for the one before them, as those do that are made for Hopper (device.cuh).
/// What is made for Ampere does not, and runs on later devices too.
bool kernels_wait() {
  cudaFuncAttributes attributes = {};
  check(cudaFuncGetAttributes(&attributes, fill_kernel<float>), "cudaFuncGetAttributes");
  constexpr int kHopper = 90;
  return attributes.ptxVersion >= kHopper;
}

__global__ void read_kernel(const uint4* data, int64_t n, uint32_t* out) {
  constexpr int kAtOnce = 8;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  uint32_t seen = 0;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n; i += kAtOnce * stride) {
    uint4 values[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      values[j] = i + j * stride < n ? data[i + j * stride] : uint4{0, 0, 0, 0};
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) seen |= values[j].x ^ values[j].y ^ values[j].z ^ values[j].w;
  }
  if (seen == 0x9E3779B9U) *out = seen;  // so that nothing is left out
}

/// Device memory for the length of a measurement.
class Borrowed {
 public:
  Borrowed(MemoryPool& pool, size_t bytes) : pool_(pool), data_(pool.allocate(bytes)) {}
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  ~Borrowed() { pool_.release(data_); }
  void* get() const { return data_; }

 private:
  MemoryPool& pool_;
  void* data_;
};

/// Seconds of one run, the median of several.
template <typename Body>
double median_seconds(const Body& body) {
  constexpr int kRuns = 11;
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  body();
  body();
  std::vector<float> milliseconds;
  for (int run = 0; run < kRuns; ++run) {
    check(cudaEventRecord(begin, nullptr), "cudaEventRecord");
    body();
    check(cudaEventRecord(end, nullptr), "cudaEventRecord");
    check(cudaEventSynchronize(end), "cudaEventSynchronize");
    float taken = 0;
    check(cudaEventElapsedTime(&taken, begin, end), "cudaEventElapsedTime");
    milliseconds.push_back(taken);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::sort(milliseconds.begin(), milliseconds.end());
  return milliseconds[kRuns / 2] * 1e-3;
}

void fill(void* data, int64_t n, DType dtype, uint32_t seed) {
  constexpr int kThreads = 256;
  constexpr int kBlocks = 1024;
  if (dtype == DType::bf16) {
    fill_kernel<<<kBlocks, kThreads>>>(static_cast<Bf16*>(data), n, seed);
  } else {
    fill_kernel<<<kBlocks, kThreads>>>(static_cast<float*>(data), n, seed);
  }
  check(cudaGetLastError(), "fill_kernel");
}

}  // namespace

Variant Variant::named(const std::string& name) {
  Variant variant;
  if (name.empty()) return variant;
  variant.follows_weights = false;
  if (name == "bf16") return variant;
  if (name == "bf16_own") {
    variant.uses_cudnn = false;
    return variant;
  }
  if (name == "f32") {
    variant.activations = DType::f32;
    return variant;
  }
  throw BackendError("variant: the CUDA backend has f32, bf16 and bf16_own, found \"" + name +
                     "\"");
}

Shared::Shared(const BackendOptions& options)
    : variant(Variant::named(options.variant)),
      device(checked_device(options)),
      stream(static_cast<cudaStream_t>(options.device_stream)) {
  const CurrentDevice current(device);
  cudaDeviceProp properties = {};
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  size = {properties.multiProcessorCount, properties.sharedMemPerBlockOptin};
  begins_early = kernels_wait();
  memory_bytes = properties.totalGlobalMem;
  device_name = properties.name;
  pool = std::make_shared<MemoryPool>(device);
  if (!variant.uses_cudnn) {
    without_cudnn = "not asked for";
    return;
  }
  try {
    cudnn = std::make_unique<Cudnn>();
  } catch (const BackendError& e) {
    without_cudnn = e.what();
  }
}

CudaStream::CudaStream(std::shared_ptr<const Shared> shared, const TrainingStreamOptions& options)
    : shared_(std::move(shared)),
      options_(options),
      queue_(*shared_->pool, {shared_->stream, shared_->begins_early}),
      blas_workspace_(*shared_->pool),
      converted_x_(*shared_->pool),
      converted_weight_(*shared_->pool),
      converted_out_(*shared_->pool),
      logits_(*shared_->pool),
      row_states_(*shared_->pool),
      arrivals_(*shared_->pool),
      attention_parts_(*shared_->pool),
      contiguous_kv_(*shared_->pool),
      cudnn_workspace_(*shared_->pool),
      row_sums_(*shared_->pool),
      partial_sums_(*shared_->pool),
      token_rows_(*shared_->pool),
      losses_(*shared_->pool) {}

CudaStream::~CudaStream() {
  try {
    const CurrentDevice current(shared_->device);
    settle();
    queue_.synchronize();
    if (pinned_ != nullptr) static_cast<void>(cudaFreeHost(pinned_));
  } catch (...) {  // what failed on the way has no one left to hear of it
  }
}

void* CudaStream::scratch(DeviceBuffer& buffer, size_t bytes) {
  if (!buffer.holds(bytes)) {
    queue_.synchronize();
    buffer.grow(bytes);
  }
  return buffer.data();
}

void CudaStream::synchronize() {
  const CurrentDevice current(shared_->device);
  settle();
  const std::vector<Download> downloads = std::exchange(downloads_, {});
  pinned_used_ = 0;
  queue_.synchronize();
  n_stores_.clear();
  for (const Download& done : downloads) std::memcpy(done.host, done.pinned, done.bytes);
}

void CudaStream::upload(void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;
  const CurrentDevice current(shared_->device);
  settle();
  // From pageable memory, so the bytes have been taken over when this returns.
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, queue_.stream()),
        "cudaMemcpyAsync");
}

void CudaStream::download(void* host, const void* device, size_t bytes) {
  if (bytes == 0) return;
  const CurrentDevice current(shared_->device);
  settle();
  void* to = host;
  constexpr size_t kPinnedBytes = size_t{4} << 20;
  if (pinned_used_ + bytes <= kPinnedBytes) {
    if (pinned_ == nullptr) {
      check(cudaHostAlloc(&pinned_, kPinnedBytes, cudaHostAllocDefault), "cudaHostAlloc");
    }
    to = static_cast<std::byte*>(pinned_) + pinned_used_;
    pinned_used_ += bytes;
    downloads_.push_back({host, to, bytes});
  }
  check(cudaMemcpyAsync(to, device, bytes, cudaMemcpyDeviceToHost, queue_.stream()),
        "cudaMemcpyAsync");
}

void CudaStream::copy(void* device_to, const void* device_from, size_t bytes) {
  if (bytes == 0) return;
  const CurrentDevice current(shared_->device);
  settle();
  check(cudaMemcpyAsync(device_to, device_from, bytes, cudaMemcpyDeviceToDevice, queue_.stream()),
        "cudaMemcpyAsync");
}

std::string CudaBackend::device() const {
  int driver = 0;
  static_cast<void>(cudaDriverGetVersion(&driver));
  return shared_->device_name + ", CUDA " + std::to_string(CUDART_VERSION / 1000) + "." +
         std::to_string(CUDART_VERSION / 10 % 100) + ", driver for " +
         std::to_string(driver / 1000) + "." + std::to_string(driver / 10 % 100) + ", " +
         shared_->blas.version() + ", " +
         (shared_->cudnn ? shared_->cudnn->version()
                         : "own attention (cuDNN: " + shared_->without_cudnn + ")");
}

DType CudaBackend::activation_dtype_beside(DType weights) const {
  return shared_->variant.follows_weights ? weights : shared_->variant.activations;
}

std::unique_ptr<PreparedWeight> CudaBackend::prepare_weight(
    std::span<const ConstTensorView> row_blocks, DType keep) {
  return std::make_unique<CudaWeight>(row_blocks, keep, shared_->pool, shared_->device);
}

std::unique_ptr<Stream> CudaBackend::create_stream() {
  const CurrentDevice current(shared_->device);
  return std::make_unique<CudaStream>(shared_);
}

std::unique_ptr<TrainingStream> CudaBackend::create_training_stream(
    const TrainingStreamOptions& options) {
  const CurrentDevice current(shared_->device);
  return std::make_unique<CudaStream>(shared_, options);
}

bool CudaBackend::computes_in(DType activations) const {
  if (shared_->variant.follows_weights) return is_activation(activations);
  return activations == shared_->variant.activations;
}

std::unique_ptr<PreparedWeight> CudaBackend::trainable_weight(TensorView master,
                                                              DType activations) {
  if (!computes_in(activations)) {
    throw BackendError("trainable_weight: wanted activations in f32 or bf16");
  }
  return std::make_unique<CudaWeight>(master, activations, shared_->pool);
}

MatmulMeasurement CudaBackend::measure_matmul(int64_t m, int64_t n, int64_t k, DType dtype) {
  if (m < 1 || n < 1 || k < 1) throw BackendError("measure_matmul: sizes must be positive");
  if (!is_activation(dtype)) throw BackendError("measure_matmul: wanted f32 or bf16");
  const CurrentDevice current(shared_->device);
  const size_t element = size_of(dtype);
  const Borrowed x(*shared_->pool, static_cast<size_t>(m * k) * element);
  const Borrowed w(*shared_->pool, static_cast<size_t>(n * k) * element);
  const Borrowed out(*shared_->pool, static_cast<size_t>(m * n) * element);
  const Borrowed workspace(*shared_->pool, Blas::kWorkspaceBytes);
  fill(x.get(), m * k, dtype, 1);
  fill(w.get(), n * k, dtype, 2);
  const int alignment = n % 8 == 0 && k % 8 == 0 ? 16 : static_cast<int>(element);
  const Product product{m, n, k, k, k, n, dtype, dtype, alignment};
  const double seconds = median_seconds([&] {
    shared_->blas.multiply(product, x.get(), w.get(), out.get(), workspace.get(), nullptr);
  });
  const double flops =
      2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  return {flops / seconds * 1e-9,
          shared_->blas.version() + (dtype == DType::bf16 ? " bf16" : " f32")};
}

double CudaBackend::measure_read_bandwidth(size_t bytes) {
  const CurrentDevice current(shared_->device);
  // Four times what is asked for at least, so that the caches keep little of it between runs.
  constexpr size_t kLeast = size_t{2} << 30;
  const int64_t n = static_cast<int64_t>(std::max(bytes, kLeast) / sizeof(uint4));
  const Borrowed data(*shared_->pool, static_cast<size_t>(n) * sizeof(uint4));
  const Borrowed out(*shared_->pool, sizeof(uint32_t));
  fill(data.get(), n * 4, DType::f32, 3);
  constexpr int kThreads = 512;
  const int n_blocks = shared_->size.n_processors * 4;
  const double seconds = median_seconds([&] {
    read_kernel<<<n_blocks, kThreads>>>(static_cast<const uint4*>(data.get()), n,
                                        static_cast<uint32_t*>(out.get()));
  });
  check(cudaGetLastError(), "read_kernel");
  return static_cast<double>(n) * sizeof(uint4) / seconds;
}

}  // namespace okapi::cuda
