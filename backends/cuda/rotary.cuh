// Rotation of pairs (Su et al. 2021, arXiv:2104.09864), for the kernels that must agree to the bit:
// rotation before attention, and within it.
#pragma once

#include "backends/cuda/device.cuh"

namespace okapi::cuda {

/// What is fused is spelled out: a compiler may choose differently from kernel to kernel.
__device__ inline void rotate_pair(float& x, float& y, float cosine, float sine) {
  const float first = __fmaf_rn(x, cosine, -__fmul_rn(y, sine));
  y = __fmaf_rn(y, cosine, __fmul_rn(x, sine));
  x = first;
}

/// Eight pairs by eight angles, of tables aligned to 16 bytes.
__device__ inline void rotate_eight(Eight& x, Eight& y, const float* cosines, const float* sines) {
  const Eight c = load_eight(cosines);
  const Eight s = load_eight(sines);
#pragma unroll
  for (int e = 0; e < 8; ++e) rotate_pair(x.at[e], y.at[e], c.at[e], s.at[e]);
}

}  // namespace okapi::cuda
