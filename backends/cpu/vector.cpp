// Operations on whole tensors as vectors: zeros, sums, the sum of squares.
#include <cstring>

#include "backends/cpu/checks.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/threads.h"

namespace okapi::cpu {

namespace {

constexpr int64_t kGrain = 16384;  // whole pages to a thread

}  // namespace

void CpuStream::zero(void* memory, size_t bytes) {
  const ThreadLimit limit(shared_->n_threads);
  const auto n = static_cast<int64_t>(bytes);
  parallel_ranges(
      n, kGrain, n / static_cast<int64_t>(sizeof(float)), [&](int64_t begin, int64_t end) {
        std::memset(static_cast<std::byte*>(memory) + begin, 0, static_cast<size_t>(end - begin));
      });
}

void CpuStream::add(TensorView to, ConstTensorView from) {
  const int64_t n = to.count();
  check_contiguous(to, n, "add: to");
  check_contiguous(from, n, "add: from");
  const ThreadLimit limit(shared_->n_threads);
  parallel_ranges(n, kGrain, n, [&](int64_t begin, int64_t end) {
    shared_->kernels.add(floats(to) + begin, floats(from) + begin, end - begin);
  });
}

double CpuStream::squared_norm(std::span<const ConstTensorView> tensors) {
  const ThreadLimit limit(shared_->n_threads);
  double all = 0;
  for (const ConstTensorView& x : tensors) {
    const int64_t n = x.count();
    check_contiguous(x, n, "squared_norm: x");
    const int64_t n_parts = (n + kGrain - 1) / kGrain;
    auto* const sums = scratch_.get<double>(ScratchUse::partial_sums, static_cast<size_t>(n_parts));
    parallel_ranges(n_parts, 1, n, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) {
        const int64_t first = part * kGrain;
        sums[part] = shared_->kernels.squared_norm(floats(x) + first, std::min(kGrain, n - first));
      }
    });
    double total = 0;
    for (int64_t part = 0; part < n_parts; ++part) total += sums[part];
    all += total;
  }
  return all;
}

}  // namespace okapi::cpu
