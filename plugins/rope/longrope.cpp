// LongRoPE: every pair slowed by a factor of its own, found by search; one list for texts within
// the trained length, another beyond it.
//
// Paper: Ding et al. 2024, arXiv:2402.13753. Its exemption of the first positions is left out, as
// in Hugging Face transformers; the gain sqrt(1 + ln(scale) / ln(L0)) is that of the paper and of
// both.

#include <okapi/plugin/rope.hpp>

static constexpr okapi::Param kParams[] = {
    {"scale", okapi::kLengthRatio, "target / trained length; for the gain alone",
     okapi::at_least(1)},
    {"short", okapi::kRequiredList, "factor per pair up to the trained length",
     okapi::more_than(0)},
    {"long", okapi::kRequiredList, "factor per pair beyond it", okapi::more_than(0)},
    {"rotation_gain", okapi::kUnset,
     "on cos and sin; unset: sqrt(1 + ln(scale) / ln(trained_length))", okapi::more_than(0)},
    {"trained_length", okapi::kTrainedLength, "L0, tokens", okapi::at_least(1)},
    {"base", okapi::kBase, "of the plain frequencies", okapi::more_than(1)},
};

static double gain_of(const okapi::Params& params) {
  if (params.has("rotation_gain")) return params.number("rotation_gain");
  const double scale = params.number("scale");
  if (scale <= 1) return 1;
  okapi::require(params.number("trained_length") > 1, "must exceed 1, its logarithm divides",
                 "trained_length");
  return std::sqrt(1 + std::log(scale) / std::log(params.number("trained_length")));
}

static okapi::RopeTable longrope(const okapi_rope_geometry& geometry, const okapi::Params& params) {
  const auto n_pairs = static_cast<size_t>(geometry.rotary_dim / 2);
  for (const char* name : {"short", "long"}) {
    const size_t n_factors = params.list(name).size();
    okapi::require(n_factors == n_pairs,
                   "wanted " + std::to_string(n_pairs) + " factors, one per pair, found " +
                       std::to_string(n_factors),
                   name);
  }
  const bool is_long =
      static_cast<double>(geometry.target_length) > params.number("trained_length");
  const std::vector<double>& factors = params.list(is_long ? "long" : "short");

  okapi::RopeTable table;
  for (size_t pair = 0; pair < n_pairs; ++pair) {
    const double freq =
        okapi::plain_inv_freq(params.number("base"), static_cast<int>(pair), geometry.rotary_dim);
    table.inv_freq.push_back(freq / factors[pair]);
  }
  table.rotation_gain = gain_of(params);
  return table;
}

OKAPI_ROPE_PLUGIN("longrope", "a searched factor per pair, one list for short texts, one for long",
                  .params = kParams, .table = longrope,
                  .flags = OKAPI_ROPE_STARTS_FROM_BASE | OKAPI_ROPE_DEPENDS_ON_LENGTH)
