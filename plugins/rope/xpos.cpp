// xPos: scores fade with distance, fast pairs first. At distance n, pair i is multiplied by
// zeta_i^(n / scale_base), zeta_i = (2i + gamma d) / ((1 + gamma) d), as factors zeta_i^(+p /
// scale_base) on the query at p and zeta_i^(-p / scale_base) on the key. Only their quotient
// matters.
//
// Paper: Sun et al. 2022, arXiv:2212.10554, section 3.

#include <okapi/plugin/rope.hpp>

static constexpr okapi::Param kParams[] = {
    {"scale_base", 512.0, "tokens over which pair i fades to zeta_i", okapi::more_than(0)},
    {"gamma", 0.4, "larger: fast pairs fade less", okapi::more_than(0)},
    {"decay", okapi::choice("plain", "plain|scaled"),
     "distance in tokens, or as stretched by the schemes before (token * frequency / plain "
     "frequency)"},
    {"base", okapi::kBase, "decay=scaled: base of the plain frequencies", okapi::more_than(1)},
};

static void log_magnitude(const okapi_rope_geometry& geometry, const okapi::Params& params,
                          std::span<const double> positions, std::span<double> log_q,
                          std::span<double> log_k) {
  const double gamma = params.number("gamma");
  const bool is_scaled = params.text("decay") == "scaled";
  const int dim = geometry.rotary_dim;

  // Natural logarithm per token, for each pair.
  std::vector<double> rate;
  for (int pair = 0; pair < dim / 2; ++pair) {
    const double zeta = (2.0 * pair + gamma * dim) / ((1 + gamma) * dim);
    const double plain = okapi::plain_inv_freq(params.number("base"), pair, dim);
    const double stretch = is_scaled ? geometry.inv_freq[pair] / plain : 1;
    rate.push_back(stretch * std::log(zeta) / params.number("scale_base"));
  }

  size_t at = 0;
  for (const double position : positions) {
    for (const double r : rate) {
      log_q[at] = position * r;
      log_k[at] = -log_q[at];
      ++at;
    }
  }
}

OKAPI_ROPE_PLUGIN("xpos", "scores fade exponentially with distance", .params = kParams,
                  .log_magnitude = log_magnitude)
