// Linear scaling (position interpolation): every rotation slower by one factor, which is the same
// as squeezing positions. Dividing frequencies rather than positions keeps positions whole.
//
// Paper: Chen et al. 2023, arXiv:2306.15595; found at the same time by kaiokendev (SuperHOT).

#include <okapi/plugin/rope.hpp>

static constexpr okapi::Param kParams[] = {
    {"scale", okapi::kLengthRatio, "target / trained length", okapi::at_least(1)},
};

static okapi::RopeTable linear(const okapi_rope_geometry& geometry, const okapi::Params& params) {
  okapi::RopeTable table(geometry);
  for (double& freq : table.inv_freq) freq /= params.number("scale");
  return table;
}

OKAPI_ROPE_PLUGIN("linear", "linear scaling, also called position interpolation", .params = kParams,
                  .table = linear, .flags = OKAPI_ROPE_PLAIN_AT_SCALE_1)
