// The gate of the feed-forward block, for swiglu.cu and the products that take it in.
#pragma once

namespace okapi::cuda {

/// silu(x) = x / (1 + exp(-x)); where exp overflows, the quotient is 0.
__device__ inline float silu(float x) { return x / (1.0F + expf(-x)); }

}  // namespace okapi::cuda
