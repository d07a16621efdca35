// The choice of a token from each row of logits: what SampleRule says, one block per row.
//
// Nothing is sorted. What top_k and top_p keep are the largest of a row, so a threshold is enough:
// it is found a byte at a time, from the top, in a histogram over the candidates (counts for top_k,
// weights for top_p). Candidates are ordered by logit, the lower id first on a tie, which one
// 64-bit key says: the logit's bits in an order of unsigned numbers, then the id turned round.
// Weights are whole numbers (backend.h), so every sum is exact and no order of threads changes it.
#include <cstring>
#include <vector>

#include "backends/cuda/checks.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/device.cuh"

namespace okapi::cuda {

namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarp;
constexpr int kBins = 256;
constexpr uint32_t kAllLanes = 0xFFFFFFFFU;

/// A SampleRule for the device; `forbidden` are places [first, first + n) of a list.
struct Rule {
  double draw;
  int64_t top_k;
  float temperature;
  float top_p;
  int32_t first_forbidden;
  int32_t n_forbidden;
};

struct Row {
  const float* logits;
  const int32_t* forbidden;
  Rule rule;
  int32_t n;
  float highest;

  __device__ bool is_candidate(int id) const {
    if (!isfinite(logits[id])) return false;
    for (int i = 0; i < rule.n_forbidden; ++i) {
      if (forbidden[i] == id) return false;
    }
    return true;
  }
  __device__ uint64_t weight(int id) const {
    const double share = exp((static_cast<double>(logits[id]) - static_cast<double>(highest)) /
                             static_cast<double>(rule.temperature));
    return static_cast<uint64_t>(__double2ll_rn(share * 0x1p44));
  }
  /// Larger is likelier, and no two are the same. Both zeros are one number.
  __device__ uint64_t key(int id) const {
    const uint32_t bits = __float_as_uint(logits[id] + 0.0F);
    const uint32_t ordered = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
    return (uint64_t{ordered} << 32) | (0xFFFFFFFFU - static_cast<uint32_t>(id));
  }
};

__device__ uint64_t warp_sum(uint64_t x) {
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  return x;
}

/// Over all threads; every thread gets the sum. `shared` has a number per warp.
__device__ uint64_t block_sum(uint64_t x, uint64_t* shared) {
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  uint64_t sum = 0;
  for (int warp = 0; warp < kWarps; ++warp) sum += shared[warp];
  return sum;
}

/// The key of the last candidate at or above `least` that is kept when candidates are taken from
/// the largest down as long as what was taken before, by `size_of`, is less than `wanted`. There is
/// one, and `wanted` is more than 0.
template <typename SizeOf>
__device__ uint64_t threshold(const Row& row, uint64_t least, double wanted, const SizeOf& size_of,
                              unsigned long long* bins, uint64_t* chosen) {
  uint64_t prefix = 0;
  uint64_t taken = 0;  // by those above all that begin with the prefix
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (int bin = static_cast<int>(threadIdx.x); bin < kBins; bin += kThreads) bins[bin] = 0;
    __syncthreads();
    const uint64_t known = shift == 56 ? 0 : ~uint64_t{0} << (shift + 8);
    for (int id = static_cast<int>(threadIdx.x); id < row.n; id += kThreads) {
      if (!row.is_candidate(id)) continue;
      const uint64_t key = row.key(id);
      if (key < least || (key & known) != prefix) continue;
      atomicAdd(bins + ((key >> shift) & 0xFFU), static_cast<unsigned long long>(size_of(id)));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      // The last bin that is reached before enough is taken.
      uint64_t sum = taken;
      int found = -1;
      uint64_t before = taken;
      for (int bin = kBins - 1; bin >= 0 && static_cast<double>(sum) < wanted; --bin) {
        if (bins[bin] == 0) continue;
        found = bin;
        before = sum;
        sum += bins[bin];
      }
      chosen[0] = static_cast<uint64_t>(found);
      chosen[1] = before;
    }
    __syncthreads();
    prefix |= chosen[0] << shift;
    taken = chosen[1];
    __syncthreads();
  }
  return prefix;
}

/// The largest, the lowest id on a tie.
__device__ uint64_t largest_key(const Row& row, uint64_t* shared) {
  uint64_t best = 0;
  for (int id = static_cast<int>(threadIdx.x); id < row.n; id += kThreads) {
    if (row.is_candidate(id)) best = max(best, row.key(id));
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    best = max(best, __shfl_xor_sync(kAllLanes, best, step));
  }
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = best;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp) best = max(best, shared[warp]);
  return best;
}

__global__ void __launch_bounds__(kThreads)
    sample_kernel(const float* logits, int64_t stride, int n, const Rule* rules,
                  const int32_t* forbidden, int32_t* ids) {
  __shared__ unsigned long long bins[kBins];
  __shared__ uint64_t shared[kWarps];
  __shared__ uint64_t chosen[2];
  wait_for_previous_kernel();
  Row row;
  row.logits = logits + blockIdx.x * stride;
  row.rule = rules[blockIdx.x];
  row.forbidden = forbidden + row.rule.first_forbidden;
  row.n = n;
  const uint64_t best = largest_key(row, shared);
  const int best_id = static_cast<int>(0xFFFFFFFFU - static_cast<uint32_t>(best));
  if (best == 0 || row.rule.temperature == 0) {
    if (threadIdx.x == 0) ids[blockIdx.x] = best == 0 ? -1 : best_id;
    return;
  }
  row.highest = row.logits[best_id];

  uint64_t least = 0;
  if (row.rule.top_k > 0 && row.rule.top_k < n) {
    least = threshold(
        row, 0, static_cast<double>(row.rule.top_k), [](int) { return uint64_t{1}; }, bins, chosen);
  }
  const auto weight_of_mine = [&](int begin, int end, int step) {
    uint64_t sum = 0;
    for (int id = begin; id < end; id += step) {
      if (row.is_candidate(id) && row.key(id) >= least) sum += row.weight(id);
    }
    return sum;
  };
  if (row.rule.top_p < 1) {
    const uint64_t total =
        block_sum(weight_of_mine(static_cast<int>(threadIdx.x), n, kThreads), shared);
    // Those that weigh nothing come last and are never reached: less than the total is wanted.
    least = threshold(
        row, least, static_cast<double>(row.rule.top_p) * static_cast<double>(total),
        [&](int id) { return row.weight(id); }, bins, chosen);
  }

  // In the order of ids: a run of them for each thread.
  const int run = (n + kThreads - 1) / kThreads;
  const int begin = min(n, static_cast<int>(threadIdx.x) * run);
  const int end = min(n, begin + run);
  const uint64_t own = weight_of_mine(begin, end, 1);
  uint64_t up_to_own = own;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  for (int step = 1; step < kWarp; step *= 2) {
    const uint64_t other = __shfl_up_sync(kAllLanes, up_to_own, step);
    if (lane >= step) up_to_own += other;
  }
  __syncthreads();
  if (lane == kWarp - 1) shared[warp] = up_to_own;
  __syncthreads();
  uint64_t total = 0;
  for (int other = 0; other < kWarps; ++other) {
    if (other == warp) up_to_own += total;
    total += shared[other];
  }
  const uint64_t wanted =
      min(static_cast<uint64_t>(row.rule.draw * static_cast<double>(total)), total - 1);
  uint64_t passed = up_to_own - own;
  if (wanted < passed || wanted >= up_to_own) return;
  for (int id = begin; id < end; ++id) {
    if (!row.is_candidate(id) || row.key(id) < least) continue;
    passed += row.weight(id);
    if (passed > wanted) {
      ids[blockIdx.x] = id;
      return;
    }
  }
}

}  // namespace

void CudaStream::sample(ConstTensorView logits, std::span<const SampleRule> rules, TensorView ids) {
  const auto n_rows = static_cast<int64_t>(rules.size());
  const int64_t n = logits.shape[1];
  check_matrix(logits, n_rows, n, "sample: logits");
  if (logits.dtype != DType::f32) throw BackendError("sample: logits: wanted f32");
  check_vector(ids, n_rows, DType::i32, "sample: ids");
  check_sample_rules(rules, n);
  if (n_rows == 0) return;

  const CurrentDevice current(shared_->device);
  begin(n_rows);
  std::vector<Rule> for_device;
  std::vector<int32_t> forbidden;
  for (const SampleRule& rule : rules) {
    for_device.push_back({rule.draw, rule.top_k, rule.temperature, rule.top_p,
                          static_cast<int32_t>(forbidden.size()),
                          static_cast<int32_t>(rule.forbidden.size())});
    forbidden.insert(forbidden.end(), rule.forbidden.begin(), rule.forbidden.end());
  }
  // One piece, so that staging the second cannot move the first: the rules, then the list.
  const size_t rule_bytes = for_device.size() * sizeof(Rule);
  std::vector<std::byte> bytes(rule_bytes + forbidden.size() * sizeof(int32_t));
  std::memcpy(bytes.data(), for_device.data(), rule_bytes);
  if (!forbidden.empty()) {
    std::memcpy(bytes.data() + rule_bytes, forbidden.data(), forbidden.size() * sizeof(int32_t));
  }
  const auto* const staged =
      static_cast<const std::byte*>(queue_.stage(bytes.data(), bytes.size()));
  queue_.launch(sample_kernel, static_cast<unsigned>(n_rows), kThreads, 0,
                static_cast<const float*>(logits.data), logits.strides[0], static_cast<int>(n),
                reinterpret_cast<const Rule*>(staged),
                reinterpret_cast<const int32_t*>(staged + rule_bytes),
                static_cast<int32_t*>(ids.data));
}

}  // namespace okapi::cuda
