// Kernels that visit each element once: widening, norm, rotation, gating.
#include "backends/cpu/kernels/declare.h"
#include "backends/cpu/kernels/simd.h"

namespace okapi::cpu::OKAPI_CPU_ISA {

void widen_bf16(const uint16_t* from, float* to, int64_t n) {
  int64_t i = 0;
  for (; i + 2 * kPairing <= n; i += 2 * kPairing) {
    for (int j = 0; j < kPairing; j += kLanes) {
      store(to + i + j, load_low(from + i + 2 * j));
      store(to + i + kPairing + j, load_high(from + i + 2 * j));
    }
  }
  for (; i < n; ++i) to[i] = widen(from[i]);
}

void add_rms_norm(float* residual, const float* delta, const float* weight, float epsilon,
                  float* out, int64_t n) {
  if (delta != nullptr) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) store(residual + i, load(residual + i) + load(delta + i));
    for (; i < n; ++i) residual[i] += delta[i];
  }
  constexpr int kChains = 4;
  Floats squares[kChains] = {};
  int64_t i = 0;
  for (; i + kChains * kLanes <= n; i += kChains * kLanes) {
    for (int c = 0; c < kChains; ++c) {
      const Floats x = load(residual + i + c * kLanes);
      squares[c] += x * x;
    }
  }
  float total = sum((squares[0] + squares[1]) + (squares[2] + squares[3]));
  for (; i < n; ++i) total += residual[i] * residual[i];
  const float scale = 1.0F / __builtin_sqrtf(total / static_cast<float>(n) + epsilon);

  for (i = 0; i + kLanes <= n; i += kLanes) {
    store(out + i, load(residual + i) * scale * load(weight + i));
  }
  for (; i < n; ++i) out[i] = residual[i] * scale * weight[i];
}

void rotate(const float* from, float* to, const float* cosines, const float* sines, int64_t n_heads,
            int64_t from_stride, int64_t to_stride, int64_t head_dim) {
  const int64_t half = head_dim / 2;
  for (int64_t head = 0; head < n_heads; ++head, from += from_stride, to += to_stride) {
    int64_t i = 0;
    for (; i + kLanes <= half; i += kLanes) {
      const Floats x = load(from + i);
      const Floats y = load(from + half + i);
      const Floats c = load(cosines + i);
      const Floats s = load(sines + i);
      store(to + i, x * c - y * s);
      store(to + half + i, y * c + x * s);
    }
    for (; i < half; ++i) {
      const float x = from[i];
      const float y = from[half + i];
      to[i] = x * cosines[i] - y * sines[i];
      to[half + i] = y * cosines[i] + x * sines[i];
    }
  }
}

namespace {

/// exp2 is bounded above at 126: beyond, silu(gate) is 0 to float precision in any case.
inline Floats gated(Floats gate, Floats up) {
  const Floats limit = broadcast(126.0F);
  const Floats x = gate * -kLog2E;
  return gate / (1.0F + exp2(x < limit ? x : limit)) * up;
}

}  // namespace

void swiglu(const float* gate, const float* up, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, gated(load(gate + i), load(up + i)));
  if (i < n) {  // the same arithmetic for the last few, through a vector filled up with zeros
    Floats g = {};
    Floats u = {};
    for (int lane = 0; lane < n - i; ++lane) {
      g[lane] = gate[i + lane];
      u[lane] = up[i + lane];
    }
    const Floats result = gated(g, u);
    for (int lane = 0; lane < n - i; ++lane) out[i + lane] = result[lane];
  }
}

float read(const float* from, int64_t n) {
  constexpr int kChains = 8;
  Floats sums[kChains] = {};
  int64_t i = 0;
  for (; i + kChains * kLanes <= n; i += kChains * kLanes) {
    for (int c = 0; c < kChains; ++c) sums[c] += load(from + i + c * kLanes);
  }
  Floats total = {};
  for (const Floats& chain : sums) total += chain;
  float result = sum(total);
  for (; i < n; ++i) result += from[i];
  return result;
}

}  // namespace okapi::cpu::OKAPI_CPU_ISA
