// YaRN: leave fast rotations alone, interpolate slow ones, sharpen attention to match.
//
// Paper: Peng et al. 2023, arXiv:2309.00071, section 3. Its ramp runs over the rotations a pair
// makes within the trained length. Published checkpoints were tuned with the authors' code, whose
// ramp runs over the index of the pair between those that make beta_fast and beta_slow rotations,
// rounded outwards; so that is the default, and `ramp` and `round` choose.

#include <algorithm>
#include <numbers>

#include <okapi/plugin/rope.hpp>

static constexpr okapi::Param kParams[] = {
    {"scale", okapi::kLengthRatio, "target / trained length", okapi::at_least(1)},
    {"beta_fast", 32.0, "pairs with more rotations in the trained length are left alone",
     okapi::more_than(0)},
    {"beta_slow", 1.0, "pairs with fewer rotations interpolate fully", okapi::more_than(0)},
    {"ramp", okapi::choice("pairs", "pairs|rotations"), "between them, straight over what"},
    {"round", true, "ramp=pairs: widen the ramp to whole pairs"},
    {"rotation_gain", okapi::kUnset, "on cos and sin; unset: 0.1 ln(scale) + 1",
     okapi::more_than(0)},
    {"attention_temperature", 1.0, "divides q.k, beside the gain", okapi::more_than(0)},
    {"trained_length", okapi::kTrainedLength, "tokens", okapi::at_least(1)},
    {"base", okapi::kBase, "of the plain frequencies", okapi::more_than(1)},
};

namespace {

/// The ramp over pairs: its ends, as indices.
struct PairRamp {
  double low;
  double high;
};

/// The pair, as a real number, that makes `rotations` in the trained length: the inverse of
/// rotations = L0 base^(-2i/d) / (2 pi).
double pair_with_rotations(double rotations, double dim, double length, double base) {
  return dim * std::log(length / (rotations * 2 * std::numbers::pi)) / (2 * std::log(base));
}

PairRamp pair_ramp(const okapi_rope_geometry& geometry, const okapi::Params& params) {
  const double dim = geometry.rotary_dim;
  const double length = params.number("trained_length");
  const double base = params.number("base");
  PairRamp ramp{pair_with_rotations(params.number("beta_fast"), dim, length, base),
                pair_with_rotations(params.number("beta_slow"), dim, length, base)};
  if (params.boolean("round")) ramp = {std::floor(ramp.low), std::ceil(ramp.high)};
  ramp = {std::max(ramp.low, 0.0), std::min(ramp.high, dim - 1)};
  if (ramp.low == ramp.high) ramp.high += 0.001;  // a step, as in the authors' code
  return ramp;
}

/// 1: the pair keeps its frequency; 0: it is interpolated fully.
double kept_by_pair(int pair, const PairRamp& ramp) {
  return 1 - std::clamp((pair - ramp.low) / (ramp.high - ramp.low), 0.0, 1.0);
}

double kept_by_rotations(double freq, const okapi::Params& params) {
  const double rotations = params.number("trained_length") * freq / (2 * std::numbers::pi);
  const double slow = params.number("beta_slow");
  return std::clamp((rotations - slow) / (params.number("beta_fast") - slow), 0.0, 1.0);
}

}  // namespace

static okapi::RopeTable yarn(const okapi_rope_geometry& geometry, const okapi::Params& params) {
  const double scale = params.number("scale");
  okapi::require(params.number("beta_slow") < params.number("beta_fast"),
                 "must be smaller than beta_fast", "beta_slow");
  const bool over_pairs = params.text("ramp") == "pairs";
  const PairRamp ramp = pair_ramp(geometry, params);

  okapi::RopeTable table;
  for (int pair = 0; pair < geometry.rotary_dim / 2; ++pair) {
    const double freq = okapi::plain_inv_freq(params.number("base"), pair, geometry.rotary_dim);
    const double kept = over_pairs ? kept_by_pair(pair, ramp) : kept_by_rotations(freq, params);
    table.inv_freq.push_back(freq * kept + freq / scale * (1 - kept));
  }
  // On q and on k, so scores grow by its square.
  table.rotation_gain =
      params.has("rotation_gain") ? params.number("rotation_gain") : 0.1 * std::log(scale) + 1;
  table.attention_temperature = params.number("attention_temperature");
  return table;
}

OKAPI_ROPE_PLUGIN("yarn", "NTK-by-parts interpolation with sharper attention", .params = kParams,
                  .table = yarn, .flags = OKAPI_ROPE_STARTS_FROM_BASE | OKAPI_ROPE_PLAIN_AT_SCALE_1)
