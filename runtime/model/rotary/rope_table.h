// What a rope is at one geometry: frequencies, gain, temperature.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/model/rotary/rope.h"

namespace okapi {

struct RopeTable {
  std::vector<double> inv_freq;      ///< [rotary_dim / 2] radians per position; 0: does not rotate
  double rotation_gain = 1;          ///< multiplies cos and sin
  double attention_temperature = 1;  ///< divides q.k / sqrt(head_dim)
  /// Of inv_freq, rotation_gain and attention_temperature, as little-endian doubles in that order.
  std::string sha256;

  /// Throws what the schemes say, or internal, naming the scheme, when one breaks its contract.
  static RopeTable evaluate(const Rope& rope, const RopeGeometry& geometry);

  /// The same bytes.
  bool operator==(const RopeTable& other) const { return sha256 == other.sha256; }
};

/// The tables of all layers, equal ones once.
struct RopeTables {
  std::vector<RopeTable> unique;
  std::vector<int32_t> of_layer;  ///< [n_layers] index into `unique`

  const RopeTable& at(int64_t layer) const {
    return unique[static_cast<size_t>(of_layer[static_cast<size_t>(layer)])];
  }

  /// `geometry.layer` and `geometry.n_layers` are set here.
  static RopeTables evaluate(const Rope& rope, const RopeGeometry& geometry, int64_t n_layers);

  /// Of the tables of all layers in their order.
  std::string sha256() const;
};

}  // namespace okapi
