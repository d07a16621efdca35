// Llama 3.1's scaling: pairs of short wavelength stay, those of long wavelength are interpolated,
// between them a straight line over the turns made within the trained length.
//
// Source: Dubey et al. 2024, arXiv:2407.21783, and the code released with the models.

#include <numbers>

#include <okapi/plugin/rope.hpp>

static constexpr okapi::Param kParams[] = {
    {"scale", 8.0, "slow pairs are slowed by this", okapi::at_least(1)},
    {"low_freq_factor", 1.0, "pairs with fewer turns in the trained length interpolate fully",
     okapi::more_than(0)},
    {"high_freq_factor", 4.0, "pairs with more turns stay", okapi::more_than(0)},
    {"trained_length", okapi::kTrainedLength, "tokens", okapi::at_least(1)},
    {"base", okapi::kBase, "of the plain frequencies", okapi::more_than(1)},
};

static double scaled(double freq, const okapi::Params& params) {
  const double low = params.number("low_freq_factor");
  const double high = params.number("high_freq_factor");
  const double length = params.number("trained_length");
  const double wavelength = 2 * std::numbers::pi / freq;
  if (wavelength < length / high) return freq;
  if (wavelength > length / low) return freq / params.number("scale");
  const double kept = (length / wavelength - low) / (high - low);
  return (1 - kept) * freq / params.number("scale") + kept * freq;
}

static okapi::RopeTable llama3(const okapi_rope_geometry& geometry, const okapi::Params& params) {
  okapi::require(params.number("low_freq_factor") < params.number("high_freq_factor"),
                 "must be smaller than high_freq_factor", "low_freq_factor");
  okapi::RopeTable table;
  for (int pair = 0; pair < geometry.rotary_dim / 2; ++pair) {
    table.inv_freq.push_back(
        scaled(okapi::plain_inv_freq(params.number("base"), pair, geometry.rotary_dim), params));
  }
  return table;
}

OKAPI_ROPE_PLUGIN("llama3", "Llama 3.1's interpolation by wavelength", .params = kParams,
                  .table = llama3,
                  .flags = OKAPI_ROPE_STARTS_FROM_BASE | OKAPI_ROPE_PLAIN_AT_SCALE_1)
