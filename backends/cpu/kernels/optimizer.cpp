// Loops over whole vectors of parameters and gradients, bound by memory.
#include "backends/cpu/kernels/declare.h"
#include "backends/cpu/kernels/simd.h"

namespace okapi::cpu::OKAPI_CPU_ISA {

void add(float* to, const float* from, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(to + i, load(to + i) + load(from + i));
  for (; i < n; ++i) to[i] += from[i];
}

double squared_norm(const float* x, int64_t n) {
  // Few enough squares to a chain of floats that its rounding does not show in a norm.
  constexpr int kChains = 4;
  constexpr int64_t kBlock = 64 * kChains * kLanes;
  double total = 0;
  int64_t i = 0;
  while (i + kChains * kLanes <= n) {
    const int64_t end = i + kBlock < n ? i + kBlock : n;
    Floats sums[kChains] = {};
    for (; i + kChains * kLanes <= end; i += kChains * kLanes) {
      for (int c = 0; c < kChains; ++c) {
        const Floats v = load(x + i + c * kLanes);
        sums[c] += v * v;
      }
    }
    total += static_cast<double>(sum((sums[0] + sums[1]) + (sums[2] + sums[3])));
  }
  for (; i < n; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return total;
}

namespace {

template <typename Number, typename SquareRoot>
inline void adamw_one(Number& p, Number g, Number& m, Number& v, const AdamWFactors& f,
                      const SquareRoot& square_root) {
  g *= f.gradient_scale;
  m = m * f.keep1 + g * f.add1;
  v = v * f.keep2 + g * g * f.add2;
  p = p * f.decay - m * f.step_size / (square_root(v) * f.second_scale + f.epsilon);
}

}  // namespace

void adamw(float* parameter, const float* gradient, float* first_moment, float* second_moment,
           int64_t n, const AdamWFactors& factors) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Floats p = load(parameter + i);
    Floats m = load(first_moment + i);
    Floats v = load(second_moment + i);
    adamw_one(p, load(gradient + i), m, v, factors, [](Floats x) { return square_root(x); });
    store(parameter + i, p);
    store(first_moment + i, m);
    store(second_moment + i, v);
  }
  for (; i < n; ++i) {
    adamw_one(parameter[i], gradient[i], first_moment[i], second_moment[i], factors,
              [](float x) { return __builtin_sqrtf(x); });
  }
}

}  // namespace okapi::cpu::OKAPI_CPU_ISA
