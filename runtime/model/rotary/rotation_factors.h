// cos and sin of positions under a table, rounded to float32: what queries and keys are rotated by.
#pragma once

#include <span>
#include <vector>

#include "runtime/model/rotary/rope_table.h"

namespace okapi {

/// Makes rows of one table; what it has worked out for whole positions serves the next ones too.
/// A row is a function of table and position alone, to the bit, whatever was asked for before.
///
///   RotationFactors factors(table);
///   factors.fill(positions, cos, sin);
///
/// Not for two threads at once.
class RotationFactors {
 public:
  explicit RotationFactors(const RopeTable& table);

  /// cos and sin [positions.size(), rotary_dim / 2] with the gain folded in. Angles are formed and
  /// reduced in double and rounded last, so that they are good to float32 at any position.
  void fill(std::span<const double> positions, float* cos, float* sin);

 private:
  struct Rows {
    std::vector<double> cos;
    std::vector<double> sin;
  };

  void fill_whole(double position, float* cos, float* sin);

  std::vector<double> inv_freq_;
  double gain_;
  Rows fine_;                     ///< of the positions 0 .. kSplit - 1
  std::vector<bool> fine_known_;  ///< which of them
  Rows coarse_;                   ///< of one multiple of kSplit, times the gain
  double coarse_position_ = -1;   ///< which; -1: none yet
};

/// The rows of `positions` at once, see RotationFactors::fill.
void fill_rotation(const RopeTable& table, std::span<const double> positions, float* cos,
                   float* sin);

}  // namespace okapi
