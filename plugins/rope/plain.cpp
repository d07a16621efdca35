// Plain RoPE: pair i turns by base^(-2i/d) radians per position. With another base, "adjusted base
// frequency" (Llama 3, Code Llama).
//
// Paper: Su et al. 2021, arXiv:2104.09864.

#include <okapi/plugin/rope.hpp>

static constexpr okapi::Param kParams[] = {
    {"base", okapi::kBase, "wavelengths grow by this factor over the pairs", okapi::more_than(1)},
};

static okapi::RopeTable plain(const okapi_rope_geometry& geometry, const okapi::Params& params) {
  const double base = params.number("base");
  okapi::RopeTable table;
  for (int pair = 0; pair < geometry.rotary_dim / 2; ++pair) {
    table.inv_freq.push_back(okapi::plain_inv_freq(base, pair, geometry.rotary_dim));
  }
  return table;
}

OKAPI_ROPE_PLUGIN("plain", "rotary embedding as first published, for any base", .params = kParams,
                  .table = plain,
                  .flags = OKAPI_ROPE_STARTS_FROM_BASE | OKAPI_ROPE_PLAIN_AT_SCALE_1)
