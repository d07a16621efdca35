// Kernels that reduce a row: the largest element, and the running sum of exponentials.
#include "backends/cpu/kernels/declare.h"
#include "backends/cpu/kernels/simd.h"

namespace okapi::cpu::OKAPI_CPU_ISA {
namespace {

float row_maximum(const float* x, int64_t n) {
  float top = x[0];
  int64_t i = 0;
  if (n >= kLanes) {
    Floats tops = load(x);
    for (i = kLanes; i + kLanes <= n; i += kLanes) tops = max(load(x + i), tops);
    top = largest(tops);
  }
  for (; i < n; ++i) top = x[i] > top ? x[i] : top;
  return top;
}

}  // namespace

void fold_log_sum_exp(const float* logits, int64_t n, float* maximum, double* sum_of_exp) {
  const float block_top = row_maximum(logits, n);
  const float top = block_top > *maximum ? block_top : *maximum;
  Floats sums[2] = {};
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    sums[0] += exp2((load(logits + i) - top) * kLog2E);
    sums[1] += exp2((load(logits + i + kLanes) - top) * kLog2E);
  }
  for (; i < n; i += kLanes) {
    Floats last = broadcast(-1e30F);  // whose exponential is 0
    for (int lane = 0; lane < kLanes && i + lane < n; ++lane) {
      last[lane] = (logits[i + lane] - top) * kLog2E;
    }
    sums[0] += exp2(last);
  }
  // The first call finds -infinity and 0 here; the product is then 0, as exp2 gives 0 for it.
  const float rescale = exp2(broadcast((*maximum - top) * kLog2E))[0];
  *sum_of_exp =
      *sum_of_exp * static_cast<double>(rescale) + static_cast<double>(sum(sums[0] + sums[1]));
  *maximum = top;
}

int64_t argmax(const float* x, int64_t n) {
  const float top = row_maximum(x, n);
  int64_t i = 0;
  while (i < n && !(x[i] == top)) ++i;
  return i < n ? i : 0;  // every element is NaN
}

}  // namespace okapi::cpu::OKAPI_CPU_ISA
