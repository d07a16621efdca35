// The backward of the kernels in elementwise.cpp.
#include "backends/cpu/kernels/declare.h"
#include "backends/cpu/kernels/simd.h"

namespace okapi::cpu::OKAPI_CPU_ISA {

// With x = r / rms and g = dout * weight:  dr = (g - x mean(g x)) / rms,  dweight = dout x.
void rms_norm_backward(const float* residual, const float* weight, float epsilon,
                       const float* out_gradient, float* residual_gradient, float* weight_gradient,
                       int64_t n) {
  constexpr int kChains = 2;
  Floats squares[kChains] = {};
  Floats products[kChains] = {};
  int64_t i = 0;
  for (; i + kChains * kLanes <= n; i += kChains * kLanes) {
    for (int c = 0; c < kChains; ++c) {
      const int64_t at = i + c * kLanes;
      const Floats r = load(residual + at);
      squares[c] += r * r;
      products[c] += load(out_gradient + at) * load(weight + at) * r;
    }
  }
  float square = sum(squares[0] + squares[1]);
  float product = sum(products[0] + products[1]);
  for (; i < n; ++i) {
    square += residual[i] * residual[i];
    product += out_gradient[i] * weight[i] * residual[i];
  }
  const auto count = static_cast<float>(n);
  const float scale = 1.0F / __builtin_sqrtf(square / count + epsilon);
  const float along = product * scale * scale * scale / count;

  for (i = 0; i + kLanes <= n; i += kLanes) {
    const Floats g = load(out_gradient + i) * load(weight + i);
    store(residual_gradient + i,
          load(residual_gradient + i) + g * scale - load(residual + i) * along);
  }
  for (; i < n; ++i) {
    residual_gradient[i] += out_gradient[i] * weight[i] * scale - residual[i] * along;
  }
  if (weight_gradient == nullptr) return;
  for (i = 0; i + kLanes <= n; i += kLanes) {
    store(weight_gradient + i,
          load(weight_gradient + i) + load(out_gradient + i) * load(residual + i) * scale);
  }
  for (; i < n; ++i) weight_gradient[i] += out_gradient[i] * residual[i] * scale;
}

void rotate_back(float* x, const float* cosines, const float* sines, int64_t n_heads,
                 int64_t head_dim) {
  const int64_t half = head_dim / 2;
  for (int64_t head = 0; head < n_heads; ++head, x += head_dim) {
    int64_t i = 0;
    for (; i + kLanes <= half; i += kLanes) {
      const Floats a = load(x + i);
      const Floats b = load(x + half + i);
      const Floats c = load(cosines + i);
      const Floats s = load(sines + i);
      store(x + i, a * c + b * s);
      store(x + half + i, b * c - a * s);
    }
    for (; i < half; ++i) {
      const float a = x[i];
      const float b = x[half + i];
      x[i] = a * cosines[i] + b * sines[i];
      x[half + i] = b * cosines[i] - a * sines[i];
    }
  }
}

namespace {

struct GateGradients {
  Floats gate;
  Floats up;
};

/// silu(g) = g s with s = 1 / (1 + exp(-g)): its derivative is s (1 + g (1 - s)).
inline GateGradients gate_gradients(Floats gate, Floats up, Floats out) {
  const Floats limit = broadcast(126.0F);  // as in the forward
  const Floats x = gate * -kLog2E;
  const Floats s = 1.0F / (1.0F + exp2(x < limit ? x : limit));
  return {out * up * (s * (1.0F + gate * (1.0F - s))), out * (gate * s)};
}

}  // namespace

void swiglu_backward(const float* gate, const float* up, const float* out_gradient,
                     float* gate_gradient, float* up_gradient, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const GateGradients result =
        gate_gradients(load(gate + i), load(up + i), load(out_gradient + i));
    store(gate_gradient + i, result.gate);
    store(up_gradient + i, result.up);
  }
  if (i < n) {
    Floats g = {};
    Floats u = {};
    Floats out = {};
    for (int lane = 0; lane < n - i; ++lane) {
      g[lane] = gate[i + lane];
      u[lane] = up[i + lane];
      out[lane] = out_gradient[i + lane];
    }
    const GateGradients result = gate_gradients(g, u, out);
    for (int lane = 0; lane < n - i; ++lane) {
      gate_gradient[i + lane] = result.gate[lane];
      up_gradient[i + lane] = result.up[lane];
    }
  }
}

void softmax_gradient(float* logits, int64_t n, float maximum, float scale) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    store(logits + i, exp2((load(logits + i) - maximum) * kLog2E) * scale);
  }
  for (; i < n; ++i) logits[i] = exp2(broadcast((logits[i] - maximum) * kLog2E))[0] * scale;
}

}  // namespace okapi::cpu::OKAPI_CPU_ISA
