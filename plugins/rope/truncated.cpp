// Truncated basis: fast pairs stay, slow ones stop, those between all turn at one very slow rate. A
// stopped pair carries content without position.
//
// Paper: Pal et al. 2023 (Giraffe), arXiv:2308.10882, section 3.3: keep theta >= b, rho for a <
// theta < b, 0 for theta <= a. The repository gives one length T instead: b = 2 pi / T, a = b / 8,
// rho = b / 16, and counts theta = a to the middle. With a = b there is no middle: p-RoPE (Barbero
// et al. 2024, arXiv:2410.06205), which keeps theta >= b.

#include <numbers>

#include <okapi/plugin/rope.hpp>

static constexpr okapi::Param kParams[] = {
    {"length", okapi::kUnset,
     "the repository's rule: keep what turns once in so many tokens; 0: off; unset: trained length",
     okapi::at_least(0)},
    {"a", okapi::kUnset, "the paper's rule: radians per position, pairs at most so fast stop",
     okapi::at_least(0)},
    {"b", okapi::kUnset, "the paper's rule: radians per position, pairs at least so fast stay",
     okapi::at_least(0)},
    {"rho", okapi::kUnset, "the paper's rule: radians per position of the pairs between",
     okapi::at_least(0)},
};

// Ratios that the repository fixes.
static constexpr double kMiddleZone = 8;
static constexpr double kSlowRate = 16;

static double by_length(double freq, double length) {
  if (length == 0) return freq;
  const double keep = 2 * std::numbers::pi / length;
  if (freq >= keep) return freq;
  return freq >= keep / kMiddleZone ? keep / kSlowRate : 0;
}

static double by_bounds(double freq, double a, double b, double rho) {
  if (freq >= b) return freq;
  return freq > a ? rho : 0;
}

static okapi::RopeTable truncated(const okapi_rope_geometry& geometry,
                                  const okapi::Params& params) {
  const bool has_bounds = params.has("a") || params.has("b") || params.has("rho");
  okapi::require(!params.has("length") || !has_bounds, "give either length, or a, b and rho",
                 "length");

  okapi::RopeTable table(geometry);
  if (!has_bounds) {
    const double length = params.has("length") ? params.number("length")
                                               : static_cast<double>(geometry.trained_length);
    okapi::require(length == 0 || length >= 1, "wanted 0 (off) or at least 1", "length");
    for (double& freq : table.inv_freq) freq = by_length(freq, length);
    return table;
  }

  const double a = params.number("a");
  const double b = params.number("b");
  // Without a middle zone nothing turns at rho.
  const double rho = a == b && !params.has("rho") ? 0 : params.number("rho");
  okapi::require(a <= b, "must not be greater than b", "a");
  for (double& freq : table.inv_freq) freq = by_bounds(freq, a, b, rho);
  return table;
}

OKAPI_ROPE_PLUGIN("truncated", "slow pairs stopped, by one length or by a, b and rho",
                  .params = kParams, .table = truncated)
