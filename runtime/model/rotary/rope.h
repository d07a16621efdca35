// A rope: an ordered list of schemes with their parameters, read against a model's geometry. Each
// scheme receives the table of the one before; the first receives base^(-2i/rotary_dim).
//
//   auto rope = Rope::parse("linear:scale=4 | truncated:length=2048", host, geometry);
//   RopeTable table = RopeTable::evaluate(*rope, geometry);
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <okapi/plugin/rope.h>

#include "runtime/base/json.h"
#include "runtime/model/rotary/geometry.h"
#include "runtime/plugin_host/rope_scheme.h"

namespace okapi {

class PluginHost;

/// Immutable; may be used from several threads at once. Schemes registered in process are only ever
/// called on the thread that calls.
class Rope {
 public:
  /// Reads a spec (see rope_spec.h), finds the schemes, checks their parameters, evaluates the list
  /// once and holds schemes to their claims. Throws not_found on an unknown scheme;
  /// invalid_argument on syntax, on a parameter, on a scheme that starts from the base later in the
  /// list, on two schemes that give positions; internal on a scheme that breaks its contract.
  static std::shared_ptr<const Rope> parse(std::string_view spec, const PluginHost& host,
                                           const RopeGeometry& model_geometry);

  /// The spec with every parameter in force at the model's geometry. One that follows the declared
  /// length and was not given reads `auto`. Reads back as the same rope.
  const std::string& canonical() const { return canonical_; }

  /// The spec with all numbers as they are at `geometry`, none `auto`.
  std::string canonical_at(const RopeGeometry& geometry) const;

  /// "spec", "depends_on_length", and "schemes": plugin, parameters with the source of each.
  Json json() const { return json_at(model_geometry_); }
  Json json_at(const RopeGeometry& geometry) const;

  const RopeGeometry& model_geometry() const { return model_geometry_; }

  /// The table is a function of the declared length.
  bool depends_on_length() const { return depends_on_length_; }

  /// q and k carry factors: keys are then cached unrotated.
  bool has_magnitudes() const;

  /// A scheme gives positions in place of 0 .. n-1.
  bool has_positions(bool training) const;

  /// Goes through the list at one geometry, calling `visit` with each scheme, the geometry as that
  /// scheme is given it and the table so far, which `visit` may change.
  struct Stage {
    std::vector<double> inv_freq;
    double rotation_gain = 1;
    double attention_temperature = 1;
  };
  using Visit = std::function<void(const RopeInstance&, const okapi_rope_geometry&)>;
  Stage walk(const RopeGeometry& geometry, const Visit& visit = {}) const;

 private:
  struct Entry {
    std::shared_ptr<const RopeScheme> scheme;
    Json given;                                    ///< parameters as the user gave them
    std::shared_ptr<const RopeInstance> instance;  ///< with those in force at the model's geometry
  };

  Rope() = default;
  void check_order() const;
  void check_claims() const;
  std::string spec_text(const RopeGeometry& geometry, bool keeps_auto) const;
  std::shared_ptr<const RopeInstance> instance_at(const Entry& entry,
                                                  const RopeGeometry& geometry) const;

  RopeGeometry model_geometry_;
  std::vector<Entry> entries_;
  std::string canonical_;
  bool depends_on_length_ = false;
};

/// Throws invalid_argument, naming the field, on sizes that no rope has: an odd or zero rotary_dim,
/// a base of at most 1, lengths below 1.
void check_geometry(const RopeGeometry& geometry);

/// base^(-2i/rotary_dim): what a list starts from.
std::vector<double> plain_frequencies(const RopeGeometry& geometry);

/// Real positions for n tokens: the scheme's draw of `geometry.seed`, or 0 .. n-1.
std::vector<double> positions(const Rope& rope, const RopeGeometry& geometry, int64_t n);

/// Natural logarithms [positions.size(), rotary_dim / 2] of the factors on q and k: the sum over
/// the list, zeros when no scheme has any.
void log_magnitudes(const Rope& rope, const RopeGeometry& geometry,
                    std::span<const double> positions, std::vector<double>& log_q,
                    std::vector<double>& log_k);

}  // namespace okapi
