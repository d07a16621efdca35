// Power basis: the slower a pair, the more it is slowed. Pair i is multiplied by (1 -
// 2i/d)^exponent, so the fastest stays as it is and none stops.
//
// Paper: Pal et al. 2023 (Giraffe), arXiv:2308.10882, section 3.3.

#include <okapi/plugin/rope.hpp>

static constexpr okapi::Param kParams[] = {
    {"exponent", 0.5, "0 changes nothing", okapi::at_least(0)},
};

static okapi::RopeTable power(const okapi_rope_geometry& geometry, const okapi::Params& params) {
  const double exponent = params.number("exponent");
  okapi::RopeTable table(geometry);
  for (int pair = 0; pair < geometry.rotary_dim / 2; ++pair) {
    table.inv_freq[pair] *= std::pow(1 - 2.0 * pair / geometry.rotary_dim, exponent);
  }
  return table;
}

OKAPI_ROPE_PLUGIN("power", "slow pairs slowed by a power of their rank", .params = kParams,
                  .table = power)
