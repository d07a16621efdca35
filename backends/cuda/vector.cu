// Operations on whole tensors as vectors: zeros, sums, the sum of squares, AdamW (Loshchilov and
// Hutter 2017, arXiv:1711.05101) and the copies of weights it changes. The tensors of a model go
// through one launch: block i has chunk i of them all.
#include <algorithm>
#include <vector>

#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"
#include "backends/training_numbers.h"

namespace okapi::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kChunk = 16384;  // elements of a block

constexpr int64_t chunks_of(int64_t n) { return (n + kChunk - 1) / kChunk; }

/// Tensors in the order of their chunks.
template <typename Item>
struct ItemTable {
  const Item* items;  ///< each with `first_chunk`, ascending
  int32_t n_items;
};

/// The item that has this block's chunk, and which elements of it.
template <typename Item>
__device__ const Item& item_of_block(const ItemTable<Item>& table, int64_t& begin, int64_t& end) {
  int low = 0;
  int high = table.n_items;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (table.items[middle].first_chunk <= blockIdx.x) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const Item& item = table.items[low];
  begin = (blockIdx.x - item.first_chunk) * kChunk;
  end = min(item.n, begin + kChunk);
  return item;
}

/// Gives every item its first chunk and brings the table to the device; how many chunks there are.
template <typename Item>
int64_t stage_items(Queue& queue, std::vector<Item>& items, ItemTable<Item>& table) {
  int64_t n_chunks = 0;
  for (Item& item : items) {
    item.first_chunk = n_chunks;
    n_chunks += chunks_of(item.n);
  }
  table.items = static_cast<const Item*>(queue.stage(items.data(), items.size() * sizeof(Item)));
  table.n_items = static_cast<int32_t>(items.size());
  return n_chunks;
}

template <typename T>
__global__ void add_kernel(T* to, const T* from, int64_t n) {
  wait_for_previous_kernel();
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x) {
    to[i] = from_float<T>(to_float(to[i]) + to_float(from[i]));
  }
}

struct SquaredItem {
  const float* x;
  int64_t n;
  int64_t first_chunk;
};

/// Over a block, in a fixed order; thread 0 gets the sum.
__device__ double block_sum_of_doubles(double x) {
  __shared__ double shared[kWarp];
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFU, x, step);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  double sum = 0;
  if (threadIdx.x == 0) {
    for (unsigned i = 0; i < blockDim.x / kWarp; ++i) sum += shared[i];
  }
  return sum;
}

__global__ void squares_kernel(ItemTable<SquaredItem> table, double* sums) {
  wait_for_previous_kernel();
  int64_t begin = 0;
  int64_t end = 0;
  const SquaredItem& item = item_of_block(table, begin, end);
  double sum = 0;
#pragma unroll 4
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    const double x = item.x[i];
    sum += x * x;
  }
  sum = block_sum_of_doubles(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

/// One block: sums[0] = the sum of all.
__global__ void sum_kernel(double* sums, int64_t n) {
  wait_for_previous_kernel();
  double sum = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += sums[i];
  sum = block_sum_of_doubles(sum);
  if (threadIdx.x == 0) sums[0] = sum;
}

struct UpdateItem {
  float* parameter;
  const float* gradient;
  float* first;
  float* second;
  int64_t n;
  int64_t first_chunk;
  AdamWFactors factors;
  int32_t is_aligned;  ///< all four to 16 bytes
};

__device__ inline void update(float& p, float g, float& m, float& v, const AdamWFactors& f) {
  g *= f.gradient_scale;
  m = f.keep1 * m + f.add1 * g;
  v = f.keep2 * v + f.add2 * g * g;
  p = f.decay * p - f.step_size * m / (sqrtf(v) * f.second_scale + f.epsilon);
}

__global__ void adamw_kernel(ItemTable<UpdateItem> table) {
  wait_for_previous_kernel();
  int64_t begin = 0;
  int64_t end = 0;
  const UpdateItem& item = item_of_block(table, begin, end);
  const AdamWFactors factors = item.factors;
  int64_t i = begin + threadIdx.x * int64_t{4};
  if (item.is_aligned != 0) {
    for (; i + 4 <= end; i += blockDim.x * int64_t{4}) {
      auto* const p = reinterpret_cast<float4*>(item.parameter + i);
      auto* const m = reinterpret_cast<float4*>(item.first + i);
      auto* const v = reinterpret_cast<float4*>(item.second + i);
      float4 value = *p;
      float4 first = *m;
      float4 second = *v;
      const float4 gradient = *reinterpret_cast<const float4*>(item.gradient + i);
      update(value.x, gradient.x, first.x, second.x, factors);
      update(value.y, gradient.y, first.y, second.y, factors);
      update(value.z, gradient.z, first.z, second.z, factors);
      update(value.w, gradient.w, first.w, second.w, factors);
      *p = value;
      *m = first;
      *v = second;
    }
  }
  // What is left, and what lies askew.
  for (; i < end; i += blockDim.x * int64_t{4}) {
    for (int64_t j = i; j < min(end, i + 4); ++j) {
      update(item.parameter[j], item.gradient[j], item.first[j], item.second[j], factors);
    }
  }
}

struct CopyItem {
  const float* from;
  Bf16* to;
  int64_t n;
  int64_t first_chunk;
};

/// Memory of weights begins at a multiple of 16 bytes, but the master's may be anybody's.
__global__ void narrow_kernel(ItemTable<CopyItem> table) {
  wait_for_previous_kernel();
  int64_t begin = 0;
  int64_t end = 0;
  const CopyItem& item = item_of_block(table, begin, end);
  int64_t i = begin + threadIdx.x * int64_t{8};
  if (reinterpret_cast<uintptr_t>(item.from) % 16 == 0) {
    for (; i + 8 <= end; i += blockDim.x * int64_t{8}) {
      store_eight(item.to + i, load_eight(item.from + i));
    }
  }
  for (; i < end; i += blockDim.x * int64_t{8}) {
    for (int64_t j = i; j < min(end, i + 8); ++j) item.to[j] = from_float<Bf16>(item.from[j]);
  }
}

}  // namespace

void CudaStream::zero(void* memory, size_t bytes) {
  if (bytes == 0) return;
  const CurrentDevice current(shared_->device);
  begin_training();
  check(cudaMemsetAsync(memory, 0, bytes, queue_.stream()), "cudaMemsetAsync");
}

void CudaStream::add(TensorView to, ConstTensorView from) {
  const int64_t n = to.count();
  for (const ConstTensorView& view : {ConstTensorView(to), from}) {
    check_contiguous(view, n, is_activation(view.dtype), "f32 or bf16", "add");
  }
  check_same_dtype(to, from, "add: to and from");
  if (n == 0) return;
  const CurrentDevice current(shared_->device);
  begin_training();
  const auto run = [&](auto* sum, const auto* added) {
    const auto n_blocks = static_cast<unsigned>(
        std::min<int64_t>((n + kThreads - 1) / kThreads, int64_t{shared_->size.n_processors} * 8));
    queue_.launch(add_kernel<std::decay_t<decltype(*sum)>>, n_blocks, kThreads, 0, sum, added, n);
  };
  if (to.dtype == DType::bf16) {
    run(static_cast<Bf16*>(to.data), static_cast<const Bf16*>(from.data));
  } else {
    run(static_cast<float*>(to.data), static_cast<const float*>(from.data));
  }
}

double CudaStream::sum_of_doubles(double* values, int64_t n) {
  constexpr unsigned kMostThreads = 1024;
  queue_.launch(sum_kernel, 1, kMostThreads, 0, values, n);
  double sum = 0;
  download(&sum, values, sizeof(sum));
  synchronize();
  return sum;
}

double CudaStream::squared_norm(std::span<const ConstTensorView> tensors) {
  std::vector<SquaredItem> items;
  for (const ConstTensorView& x : tensors) {
    check_contiguous_f32(x, x.count(), "squared_norm: x");
    if (x.count() > 0) items.push_back({static_cast<const float*>(x.data), x.count(), 0});
  }
  if (items.empty()) return 0;
  const CurrentDevice current(shared_->device);
  begin_training();
  int64_t n_chunks = 0;
  for (const SquaredItem& item : items) n_chunks += chunks_of(item.n);
  auto* const sums =
      static_cast<double*>(scratch(partial_sums_, static_cast<size_t>(n_chunks) * sizeof(double)));
  ItemTable<SquaredItem> table = {};
  stage_items(queue_, items, table);
  queue_.launch(squares_kernel, static_cast<unsigned>(n_chunks), kThreads, 0, table, sums);
  return sum_of_doubles(sums, n_chunks);
}

void CudaStream::adamw(std::span<const AdamWUpdate> updates) {
  std::vector<UpdateItem> items;
  for (const AdamWUpdate& given : updates) {
    const int64_t n = given.parameter.count();
    check_contiguous_f32(given.parameter, n, "adamw: parameter");
    check_contiguous_f32(given.gradient, n, "adamw: gradient");
    check_contiguous_f32(given.first_moment, n, "adamw: first_moment");
    check_contiguous_f32(given.second_moment, n, "adamw: second_moment");
    UpdateItem item = {};
    item.factors = make_adamw_factors(given.step);
    item.parameter = static_cast<float*>(given.parameter.data);
    item.gradient = static_cast<const float*>(given.gradient.data);
    item.first = static_cast<float*>(given.first_moment.data);
    item.second = static_cast<float*>(given.second_moment.data);
    item.n = n;
    item.is_aligned = is_aligned(given.parameter) && is_aligned(given.gradient) &&
                              is_aligned(given.first_moment) && is_aligned(given.second_moment)
                          ? 1
                          : 0;
    if (n > 0) items.push_back(item);
  }
  if (items.empty()) return;
  const CurrentDevice current(shared_->device);
  begin_training();
  ItemTable<UpdateItem> table = {};
  const int64_t n_chunks = stage_items(queue_, items, table);
  queue_.launch(adamw_kernel, static_cast<unsigned>(n_chunks), kThreads, 0, table);
}

void CudaStream::refresh(std::span<PreparedWeight* const> weights) {
  std::vector<CopyItem> items;
  for (const PreparedWeight* given : weights) {
    const CudaWeight& weight = cuda_weight(*given);
    if (!weight.is_trainable()) {
      throw BackendError("refresh: wanted a weight made by trainable_weight");
    }
    const int64_t n = weight.rows * weight.columns;
    if (weight.copy() == nullptr || n == 0) continue;  // it reads its master
    items.push_back({weight.master(), static_cast<Bf16*>(weight.copy()), n, 0});
  }
  if (items.empty()) return;
  const CurrentDevice current(shared_->device);
  begin_training();
  ItemTable<CopyItem> table = {};
  const int64_t n_chunks = stage_items(queue_, items, table);
  queue_.launch(narrow_kernel, static_cast<unsigned>(n_chunks), kThreads, 0, table);
}

}  // namespace okapi::cuda
