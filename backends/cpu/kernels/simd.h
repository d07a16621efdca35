// One vector register of floats, in terms of GCC's vector extensions, so that a kernel is written
// once and compiled for every instruction set.
//
// Included by kernel sources only. Everything here has internal linkage: an inline function with
// external linkage, compiled for AVX-512 in one object and for SSE2 in another, would be merged by
// the linker, and the survivor might not run on this processor. For the same reason kernel sources
// use no standard C++ library.
#pragma once

#include <stdint.h>

#ifndef OKAPI_CPU_ISA
#error "kernel sources are compiled once per instruction set, see kernels/CMakeLists.txt"
#endif

namespace okapi::cpu::OKAPI_CPU_ISA {
namespace {

constexpr int kVectorBytes = OKAPI_CPU_VECTOR_BYTES;
constexpr int kLanes = kVectorBytes / 4;

typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef int32_t Ints __attribute__((vector_size(kVectorBytes)));
typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));
typedef float UnalignedFloats __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef int32_t UnalignedInts __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef int32_t WordPairs __attribute__((vector_size(kVectorBytes), aligned(2), may_alias));

inline Floats load(const float* p) { return *reinterpret_cast<const UnalignedFloats*>(p); }
inline void store(float* p, Floats v) { *reinterpret_cast<UnalignedFloats*>(p) = v; }
inline Ints load(const int32_t* p) { return *reinterpret_cast<const UnalignedInts*>(p); }
inline Floats broadcast(float x) { return x - Floats{}; }
inline Floats max(Floats a, Floats b) { return a > b ? a : b; }
inline Floats square_root(Floats x) {
  Floats root;
  for (int lane = 0; lane < kLanes; ++lane) root[lane] = __builtin_sqrtf(x[lane]);
  return root;
}

/// A bf16 is the upper half of the float it stands for.
inline float widen(uint16_t bits) {
  union {
    uint32_t bits;
    float value;
  } word = {static_cast<uint32_t>(bits) << 16};
  return word.value;
}

/// bf16 weights lie in memory in blocks of 2 * kPairing: word j of a block holds elements j and
/// j + kPairing, so that a register of words splits into two registers of neighbours by a shift and
/// a mask, without the shuffles that widening in order would take. See pair_bf16() in weight.cpp.
inline Floats low_halves(Ints words) { return reinterpret_cast<Floats>(words << 16); }
inline Floats high_halves(Ints words) {
  return reinterpret_cast<Floats>(words & static_cast<int32_t>(0xFFFF0000U));
}
inline Floats load_low(const uint16_t* words) {
  return low_halves(*reinterpret_cast<const WordPairs*>(words));
}
inline Floats load_high(const uint16_t* words) {
  return high_halves(*reinterpret_cast<const WordPairs*>(words));
}
inline float value(float x) { return x; }
inline float value(uint16_t bits) { return widen(bits); }

/// The lower and the upper half of a register's lanes.
typedef float Quad __attribute__((vector_size(16)));
#if OKAPI_CPU_VECTOR_BYTES >= 32
typedef float Octet __attribute__((vector_size(32)));
inline Quad lower(Octet v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3); }
inline Quad upper(Octet v) { return __builtin_shufflevector(v, v, 4, 5, 6, 7); }
#endif
#if OKAPI_CPU_VECTOR_BYTES >= 64
inline Octet lower(Floats v) { return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7); }
inline Octet upper(Floats v) { return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15); }
#endif

/// Halves are added until one number is left: always the same order, so that a sum does not depend
/// on where a vector stood.
inline float sum(Quad v) { return (v[0] + v[2]) + (v[1] + v[3]); }
inline float largest(Quad v) {
  const float even = v[0] > v[2] ? v[0] : v[2];
  const float odd = v[1] > v[3] ? v[1] : v[3];
  return even > odd ? even : odd;
}
#if OKAPI_CPU_VECTOR_BYTES >= 32
inline float sum(Octet v) { return sum(lower(v) + upper(v)); }
inline float largest(Octet v) {
  const Quad a = lower(v);
  const Quad b = upper(v);
  return largest(a > b ? a : b);
}
#endif
#if OKAPI_CPU_VECTOR_BYTES >= 64
inline float sum(Floats v) { return sum(lower(v) + upper(v)); }
inline float largest(Floats v) {
  const Octet a = lower(v);
  const Octet b = upper(v);
  return largest(a > b ? a : b);
}
#endif

/// 2^x for x up to 127; exactly 0 below -126. A minimax polynomial of degree 6 on [-1/2, 1/2]
/// (relative error 2e-9, so the rounding of its evaluation dominates) times a power of two.
inline Floats exp2(Floats x) {
  const Floats to_integer =
      broadcast(12582912.0F);  // 1.5 * 2^23: adding it leaves the integer in the low bits
  const Floats shifted = x + to_integer;
  const Floats f = x - (shifted - to_integer);
  Floats p = f * 0.000153458120F + 0.00133999312F;
  p = p * f + 0.00961848896F;
  p = p * f + 0.0555032878F;
  p = p * f + 0.240226469F;
  p = p * f + 0.693147206F;
  p = p * f + 1.0F;
  const Words exponent = reinterpret_cast<Words>(shifted) << 23;
  const Floats scaled = reinterpret_cast<Floats>(reinterpret_cast<Words>(p) + exponent);
  return x < -126.0F ? Floats{} : scaled;
}

/// A score that stands for "not seen": exp2 of it, less any finite maximum, is exactly 0.
constexpr float kMasked = -1e30F;

constexpr float kLog2E = 1.44269504088896341F;

}  // namespace
}  // namespace okapi::cpu::OKAPI_CPU_ISA
