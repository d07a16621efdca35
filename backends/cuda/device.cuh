// What kernels share: bf16 as bits, vectors of eight, reductions, and the order between kernels.
#pragma once

#include <cstdint>

namespace okapi::cuda {

struct Bf16 {
  uint16_t bits;
};

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(Bf16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}

/// Two numbers rounded to nearest even, the first in the low half.
__device__ inline uint32_t pack_bf16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
__device__ inline float low_bf16(uint32_t packed) { return __uint_as_float(packed << 16); }
__device__ inline float high_bf16(uint32_t packed) { return __uint_as_float(packed & 0xFFFF0000U); }

template <typename T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline Bf16 from_float<Bf16>(float x) {
  return {static_cast<uint16_t>(pack_bf16(x, 0.0F) & 0xFFFFU)};
}

/// Eight consecutive elements, 16-byte aligned.
struct Eight {
  float at[8];
};
__device__ inline Eight load_eight(const float* from) {
  const float4 a = *reinterpret_cast<const float4*>(from);
  const float4 b = *reinterpret_cast<const float4*>(from + 4);
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}
__device__ inline Eight unpack_eight(uint4 v) {
  return {{low_bf16(v.x), high_bf16(v.x), low_bf16(v.y), high_bf16(v.y), low_bf16(v.z),
           high_bf16(v.z), low_bf16(v.w), high_bf16(v.w)}};
}
__device__ inline Eight load_eight(const Bf16* from) {
  return unpack_eight(*reinterpret_cast<const uint4*>(from));
}
__device__ inline void store_eight(float* to, const Eight& x) {
  *reinterpret_cast<float4*>(to) = {x.at[0], x.at[1], x.at[2], x.at[3]};
  *reinterpret_cast<float4*>(to + 4) = {x.at[4], x.at[5], x.at[6], x.at[7]};
}
__device__ inline uint4 pack_eight(const Eight& x) {
  return {pack_bf16(x.at[0], x.at[1]), pack_bf16(x.at[2], x.at[3]), pack_bf16(x.at[4], x.at[5]),
          pack_bf16(x.at[6], x.at[7])};
}
__device__ inline void store_eight(Bf16* to, const Eight& x) {
  *reinterpret_cast<uint4*>(to) = pack_eight(x);
}

/// 2^x in one instruction; results too small to be normal are 0.
__device__ inline float fast_exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// Lets the next kernel take what room there is beside this one, as soon as all blocks of this one
/// have begun. It will wait for this one's end, but may fetch weights until then.
__device__ inline void let_next_kernel_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Every kernel calls this, in at least one block, before it reads or writes what another kernel
/// touches: it may have been started while the one before it was still running, which in turn had
/// not ended before its own wait did.
__device__ inline void wait_for_previous_kernel() {
  let_next_kernel_begin();
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

constexpr int kWarp = 32;

__device__ inline float warp_sum(float x) {
  for (int step = kWarp / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFU, x, step);
  return x;
}
__device__ inline float warp_max(float x) {
  for (int step = kWarp / 2; step > 0; step /= 2)
    x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFU, x, step));
  return x;
}

/// Over all threads of a block of whole warps, in a fixed order; every thread gets the sum.
/// `shared` has 32 floats and may be used again at once.
__device__ inline float block_sum(float x, float* shared) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int n_warps = static_cast<int>(blockDim.x) / kWarp;
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared[warp] = x;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < n_warps; ++i) sum += shared[i];
  return sum;
}
__device__ inline float block_max(float x, float* shared) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int n_warps = static_cast<int>(blockDim.x) / kWarp;
  x = warp_max(x);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared[warp] = x;
  __syncthreads();
  float largest = shared[0];
  for (int i = 1; i < n_warps; ++i) largest = fmaxf(largest, shared[i]);
  return largest;
}

}  // namespace okapi::cuda
