// Dynamic NTK scaling: plain up to the trained length, then the base grows with the declared length
// S: base * (scale * S / L0 - (scale - 1))^(d / (d - 2)). At scale 1 the last pair stretches just
// to S.
//
// Source: emozilla 2023 (r/LocalLLaMA); the rule is that of Hugging Face transformers' "dynamic".

#include <okapi/plugin/rope.hpp>

static constexpr okapi::Param kParams[] = {
    {"scale", 1.0, "how fast the base grows beyond the trained length", okapi::at_least(1)},
    {"trained_length", okapi::kTrainedLength, "L0, tokens; plain up to here", okapi::at_least(1)},
    {"base", okapi::kBase, "the base that is enlarged", okapi::more_than(1)},
};

static okapi::RopeTable dynamic_ntk(const okapi_rope_geometry& geometry,
                                    const okapi::Params& params) {
  okapi::require(geometry.rotary_dim > 2, "needs more than one pair: d / (d - 2) has no value at 2",
                 "rotary_dim");
  const double scale = params.number("scale");
  const double dim = geometry.rotary_dim;
  const double ratio =
      static_cast<double>(geometry.target_length) / params.number("trained_length");
  const double growth = ratio > 1 ? scale * ratio - (scale - 1) : 1;
  const double base = params.number("base") * std::pow(growth, dim / (dim - 2));

  okapi::RopeTable table;
  for (int pair = 0; pair < geometry.rotary_dim / 2; ++pair) {
    table.inv_freq.push_back(okapi::plain_inv_freq(base, pair, geometry.rotary_dim));
  }
  return table;
}

OKAPI_ROPE_PLUGIN("dynamic_ntk", "NTK-aware scaling by the declared length", .params = kParams,
                  .table = dynamic_ntk,
                  .flags = OKAPI_ROPE_STARTS_FROM_BASE | OKAPI_ROPE_DEPENDS_ON_LENGTH)
