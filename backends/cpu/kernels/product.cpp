// A few rows times a matrix kept as rows [N, K]: decoding, and what is left of a batch below the
// size at which the library's product pays.
//
// One input row is bound by memory: weight rows are taken one after another, so that they are read
// as one sequential stream (eight rows side by side lose a tenth of the bandwidth in f32 and half
// of it in bf16), in four chains of vectors along K, enough to hide the latency of multiply-add.
// Several input rows are bound by arithmetic: four weight rows by three input rows share their
// loads, and each output has a single chain.
#include "backends/cpu/kernels/declare.h"
#include "backends/cpu/kernels/simd.h"

namespace okapi::cpu::OKAPI_CPU_ISA {
namespace {

constexpr int kChains = 4;
constexpr int kLineBytes = 64;

/// Vectors of weights, in the order in which they are kept: `at(v)` is vector v of the `kVectors`
/// that start at a multiple of kElements, and belongs to the inputs from element `input(v)` on.
struct F32Row {
  static constexpr int kVectors = 1;
  static constexpr int kElements = kLanes;
  static Floats at(const float* w, int) { return load(w); }
  static constexpr int input(int) { return 0; }
};
struct Bf16Row {
  static constexpr int kVectors = 2 * kPairing / kLanes;
  static constexpr int kElements = 2 * kPairing;
  static Floats at(const uint16_t* w, int v) {
    return v % 2 == 0 ? load_low(w + v * kLanes) : load_high(w + (v - 1) * kLanes);
  }
  static constexpr int input(int v) { return v / 2 * kLanes + (v % 2) * kPairing; }
};

/// N vectors of one weight row, in turn to the chains.
template <typename Row, int N, typename Weight>
inline void add(Floats (&acc)[kChains], const float* x, const Weight* w) {
#pragma GCC unroll 16
  for (int n = 0; n < N; ++n) {
    const int block = n / Row::kVectors * Row::kElements;
    const int v = n % Row::kVectors;
    acc[n % kChains] += load(x + block + Row::input(v)) * Row::at(w + block, v);
  }
}

template <typename Row, typename Weight>
inline float dot(const float* x, const Weight* w, int64_t k) {
  // Two lines of the weight at a time, or as many as the chains need. How far to ask ahead was
  // measured, against the rate at which memory is read: on Zen 3 (avx2) f32 reaches 97 % unasked
  // and loses by asking, bf16, of which fewer lines are in flight at a time, goes from 83 to 92 %;
  // on Sapphire Rapids (avx512) f32 goes from 94 to 99 % and bf16 from 75 to 92 %.
  constexpr int kStepBytes = 2 * kLineBytes;
  constexpr int kLineVectors = kStepBytes / static_cast<int>(sizeof(Weight)) / kLanes;
  constexpr int kVectors = kLineVectors > kChains ? kLineVectors : kChains;
  constexpr int kStep = kVectors * kLanes;
  constexpr bool kIsWide = kVectorBytes == 64;
  constexpr bool kAsksAhead = kIsWide || sizeof(Weight) == 2;
  constexpr int kAheadBytes = kIsWide ? 4096 : 1024;

  Floats acc[kChains] = {};
  int64_t i = 0;
  for (; i + kStep <= k; i += kStep) {
    if constexpr (kAsksAhead) {
#pragma GCC unroll 4
      for (int byte = 0; byte < kStep * static_cast<int>(sizeof(Weight)); byte += kLineBytes) {
        __builtin_prefetch(reinterpret_cast<const char*>(w + i) + kAheadBytes + byte);
      }
    }
    add<Row, kVectors>(acc, x + i, w + i);
  }
  for (; i + Row::kElements <= k; i += Row::kElements) add<Row, Row::kVectors>(acc, x + i, w + i);
  float total = sum((acc[0] + acc[1]) + (acc[2] + acc[3]));
  for (; i < k; ++i) total += x[i] * value(w[i]);
  return total;
}

/// out [M, R] of R weight rows and M input rows.
template <typename Row, int R, int M, typename Weight>
inline void tile(const float* x, int64_t ldx, const Weight* w, int64_t k, float* out, int64_t ldo) {
  Floats acc[M][R] = {};
  int64_t i = 0;
  for (; i + Row::kElements <= k; i += Row::kElements) {
#pragma GCC unroll 16
    for (int v = 0; v < Row::kVectors; ++v) {
      Floats weights[R];
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) weights[r] = Row::at(w + r * k + i, v);
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) {
        const Floats input = load(x + m * ldx + i + Row::input(v));
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) acc[m][r] += input * weights[r];
      }
    }
  }
  for (int m = 0; m < M; ++m) {
    for (int r = 0; r < R; ++r) {
      float total = sum(acc[m][r]);
      for (int64_t last = i; last < k; ++last) total += x[m * ldx + last] * value(w[r * k + last]);
      out[m * ldo + r] = total;
    }
  }
}

template <typename Row, int R, typename Weight>
inline void inputs(const float* x, int64_t ldx, int64_t m, const Weight* w, int64_t k, float* out,
                   int64_t ldo) {
  int64_t i = 0;
  for (; i + 3 <= m; i += 3) tile<Row, R, 3>(x + i * ldx, ldx, w, k, out + i * ldo, ldo);
  if (m - i == 2) tile<Row, R, 2>(x + i * ldx, ldx, w, k, out + i * ldo, ldo);
  if (m - i == 1) tile<Row, R, 1>(x + i * ldx, ldx, w, k, out + i * ldo, ldo);
}

template <typename Row, typename Weight>
inline void product(const float* x, int64_t ldx, int64_t m, const Weight* w, int64_t n, int64_t k,
                    float* out, int64_t ldo) {
  if (m == 1) {
    for (int64_t j = 0; j < n; ++j) out[j] = dot<Row>(x, w + j * k, k);
    return;
  }
  int64_t j = 0;
  for (; j + 4 <= n; j += 4) {
    for (int64_t byte = 0; byte < 4 * k * static_cast<int64_t>(sizeof(Weight));
         byte += kLineBytes) {
      __builtin_prefetch(reinterpret_cast<const char*>(w + (j + 4) * k) + byte);
    }
    inputs<Row, 4>(x, ldx, m, w + j * k, k, out + j, ldo);
  }
  for (; j < n; ++j) inputs<Row, 1>(x, ldx, m, w + j * k, k, out + j, ldo);
}

}  // namespace

void product_f32(const float* x, int64_t ldx, int64_t m, const float* w, int64_t n, int64_t k,
                 float* out, int64_t ldo) {
  product<F32Row>(x, ldx, m, w, n, k, out, ldo);
}

void product_bf16(const float* x, int64_t ldx, int64_t m, const uint16_t* w, int64_t n, int64_t k,
                  float* out, int64_t ldo) {
  product<Bf16Row>(x, ldx, m, w, n, k, out, ldo);
}

}  // namespace okapi::cpu::OKAPI_CPU_ISA
