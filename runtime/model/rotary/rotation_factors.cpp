// Counted positions come by the ten thousands before a prompt's first layer can begin, and a sine
// and a cosine of double precision take tens of nanoseconds a pair. So a whole position p is split
// as a + b, b = p mod kSplit, and with the rows of a and of b, which many positions share,
//
//   cos p w = cos a w cos b w - sin a w sin b w,   sin p w = sin a w cos b w + cos a w sin b w.
//
// Before gain and last rounding each of these is within 1.4e-15 of the truth:
//   9e-16    the reduced angles of a and b, each two roundings of a number of up to pi (2.2e-16)
//   1.8e-16  their four functions, each off by half an ulp below 1 and a little more (6e-17)
//   2.3e-16  two products and a sum
// where one angle and one function of it alone are within 5.1e-16. Half an ulp of float32 is more
// than both together down to values of 7e-8, so there the two ways differ by one ulp at most, and
// hardly ever by that. Where a or b is 0 the products are by 1 and 0: the same as the direct way.
#include "runtime/model/rotary/rotation_factors.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>

namespace okapi {

namespace {

// So many fine rows fit a core's cache (64 KiB at 64 pairs). They are what a first fill pays at
// most; afterwards one row in kSplit is worked out directly.
constexpr size_t kSplit = 64;

// 2 pi as a sum of doubles: the first is rounded, the second is what that dropped.
constexpr double kTwoPi = 2 * std::numbers::pi;
constexpr double kTwoPiRest = 2.4492935982947064e-16;
constexpr double kTurnsPerRadian = 1 / kTwoPi;

/// In [-pi, pi], with the product's own rounding error carried along.
double reduced_angle(double position, double inv_freq) {
  const double angle = position * inv_freq;
  const double dropped = std::fma(position, inv_freq, -angle);
  const double turns = std::nearbyint(angle * kTurnsPerRadian);
  return std::fma(-turns, kTwoPiRest, std::fma(-turns, kTwoPi, angle)) + dropped;
}

/// cos and sin of one position, times the gain.
template <typename Real>
void fill_row(std::span<const double> inv_freq, double position, double gain, Real* cos,
              Real* sin) {
  for (size_t pair = 0; pair < inv_freq.size(); ++pair) {
    const double angle = reduced_angle(position, inv_freq[pair]);
    cos[pair] = static_cast<Real>(gain * std::cos(angle));
    sin[pair] = static_cast<Real>(gain * std::sin(angle));
  }
}

/// Up to where doubles tell whole numbers apart.
bool is_whole(double position) {
  return std::fabs(position) <= 0x1p53 && std::trunc(position) == position;
}

}  // namespace

RotationFactors::RotationFactors(const RopeTable& table)
    : inv_freq_(table.inv_freq), gain_(table.rotation_gain), fine_known_(kSplit) {
  const size_t n_pairs = inv_freq_.size();
  coarse_.cos.resize(n_pairs);
  coarse_.sin.resize(n_pairs);
}

void RotationFactors::fill(std::span<const double> positions, float* cos, float* sin) {
  for (const double position : positions) {
    if (is_whole(position)) {
      fill_whole(position, cos, sin);
    } else {
      fill_row(inv_freq_, position, gain_, cos, sin);
    }
    cos += inv_freq_.size();
    sin += inv_freq_.size();
  }
}

void RotationFactors::fill_whole(double position, float* cos, float* sin) {
  const size_t n_pairs = inv_freq_.size();
  // Of the distance from 0, so that -p is p turned the other way, to the bit.
  const auto distance = static_cast<uint64_t>(std::fabs(position));
  const double forward = std::copysign(1.0, position);
  const size_t fine = distance % kSplit;
  const auto coarse_position = static_cast<double>(distance - fine);

  if (coarse_position != coarse_position_) {
    fill_row(inv_freq_, coarse_position, gain_, coarse_.cos.data(), coarse_.sin.data());
    coarse_position_ = coarse_position;
  }
  if (fine_.sin.empty()) {  // the last to be made, should memory run out
    fine_.cos.resize(kSplit * n_pairs);
    fine_.sin.resize(kSplit * n_pairs);
  }
  double* const fine_cos = &fine_.cos[fine * n_pairs];
  double* const fine_sin = &fine_.sin[fine * n_pairs];
  if (!fine_known_[fine]) {
    fill_row(inv_freq_, static_cast<double>(fine), 1.0, fine_cos, fine_sin);
    fine_known_[fine] = true;
  }

  const double* const coarse_cos = coarse_.cos.data();
  const double* const coarse_sin = coarse_.sin.data();
  for (size_t pair = 0; pair < n_pairs; ++pair) {
    const double c = coarse_cos[pair] * fine_cos[pair] - coarse_sin[pair] * fine_sin[pair];
    const double s = coarse_sin[pair] * fine_cos[pair] + coarse_cos[pair] * fine_sin[pair];
    cos[pair] = static_cast<float>(c);
    sin[pair] = static_cast<float>(forward * s);
  }
}

void fill_rotation(const RopeTable& table, std::span<const double> positions, float* cos,
                   float* sin) {
  RotationFactors(table).fill(positions, cos, sin);
}

}  // namespace okapi
