// NTK-aware scaling: a larger base, chosen so that the fastest pair keeps its rate and the slowest
// is slowed by `scale` exactly: base * scale^(d / (d - 2)).
//
// Source: bloc97 2023 (r/LocalLLaMA); derived in Peng et al. 2023 (YaRN), arXiv:2309.00071,
// section 3.1.

#include <okapi/plugin/rope.hpp>

static constexpr okapi::Param kParams[] = {
    {"scale", okapi::kLengthRatio, "target / trained length", okapi::at_least(1)},
    {"base", okapi::kBase, "the base that is enlarged", okapi::more_than(1)},
};

static okapi::RopeTable ntk(const okapi_rope_geometry& geometry, const okapi::Params& params) {
  const double dim = geometry.rotary_dim;
  okapi::require(geometry.rotary_dim > 2, "needs more than one pair: d / (d - 2) has no value at 2",
                 "rotary_dim");
  const double base = params.number("base") * std::pow(params.number("scale"), dim / (dim - 2));

  okapi::RopeTable table;
  for (int pair = 0; pair < geometry.rotary_dim / 2; ++pair) {
    table.inv_freq.push_back(okapi::plain_inv_freq(base, pair, geometry.rotary_dim));
  }
  return table;
}

OKAPI_ROPE_PLUGIN("ntk", "NTK-aware scaling: a larger base", .params = kParams, .table = ntk,
                  .flags = OKAPI_ROPE_STARTS_FROM_BASE | OKAPI_ROPE_PLAIN_AT_SCALE_1)
