// Randomized positions: the model sees spacings in training that it will meet at longer lengths.
//
//   jitter  Pal et al. 2023 (Giraffe), arXiv:2308.10882: gaps uniform in [epsilon, 2), added up,
//   shrunk
//           into n if the last overshoots, never stretched.
//   subset  Ruoss et al. 2023, arXiv:2305.16843: n of the positions 1 .. max, sorted.
//
// In evaluation positions are plain, unless `in_evaluation` asks for draws as Ruoss et al. make
// them.

#include <algorithm>
#include <numeric>

#include <okapi/plugin/rope.hpp>

static constexpr okapi::Param kParams[] = {
    {"kind", okapi::choice("jitter", "jitter|subset"), "how positions are drawn"},
    {"epsilon", 0.0, "jitter: smallest gap, so that no two tokens coincide", okapi::between(0, 1)},
    {"max", okapi::kTargetLength, "subset: largest position, at least the number of tokens",
     okapi::at_least(1)},
    {"in_evaluation", false, "draw in evaluation too"},
};

static std::vector<double> jitter(int64_t n, double epsilon, okapi::Random& draw) {
  std::vector<double> positions(static_cast<size_t>(n));
  double at = 0;
  for (double& position : positions) {
    at += epsilon + (2 - epsilon) * draw.uniform();
    position = at;
  }
  const double shrink = static_cast<double>(n) / std::max(at, static_cast<double>(n));
  for (double& position : positions) position *= shrink;
  return positions;
}

static std::vector<double> subset(int64_t n, int64_t max, okapi::Random& draw) {
  okapi::require(n <= max, "must be at least the number of tokens", "max");
  // Each position is taken with the odds that fill the rest exactly (Knuth's algorithm S): sorted,
  // and every subset equally likely.
  std::vector<double> positions;
  for (int64_t position = 1; static_cast<int64_t>(positions.size()) < n; ++position) {
    const int64_t wanted = n - static_cast<int64_t>(positions.size());
    if (draw.uniform_int(1, max - position + 1) <= wanted)
      positions.push_back(static_cast<double>(position));
  }
  return positions;
}

static std::vector<double> positions(const okapi_rope_geometry& geometry,
                                     const okapi::Params& params, int64_t n, okapi::Random& draw) {
  if (geometry.phase == OKAPI_PHASE_EVALUATE && !params.boolean("in_evaluation")) {
    std::vector<double> plain(static_cast<size_t>(n));
    std::iota(plain.begin(), plain.end(), 0.0);
    return plain;
  }
  if (params.text("kind") == "jitter") return jitter(n, params.number("epsilon"), draw);
  return subset(n, params.integer("max"), draw);
}

static uint32_t more_flags(const okapi::Params& params) {
  return params.boolean("in_evaluation") ? OKAPI_ROPE_POSITIONS_IN_EVALUATION : 0;
}

OKAPI_ROPE_PLUGIN("randomized", "random real positions in training", .params = kParams,
                  .positions = positions, .flags = OKAPI_ROPE_POSITIONS_IN_TRAINING,
                  .more_flags = more_flags)
