// step: slow down only the pairs that never learned to turn.
//
// A pair that made fewer than `turns` turns within the trained length has not shown the model every
// angle, so new positions would show it unknown ones: it is slowed by `scale`. Faster pairs stay as
// they were trained.

#include <numbers>

#include <okapi/plugin/rope.hpp>

static constexpr okapi::Param kParams[] = {
    {"scale", okapi::kLengthRatio, "target / trained length, at least 1", okapi::at_least(1)},
    {"turns", 1.0, "turns within the trained length that keep a pair as it is",
     okapi::more_than(0)},
};

static okapi::RopeTable step(const okapi_rope_geometry& geometry, const okapi::Params& params) {
  okapi::RopeTable table(geometry);
  for (double& inv_freq : table.inv_freq) {
    const double turns = geometry.trained_length * inv_freq / (2 * std::numbers::pi);
    if (turns < params.number("turns")) inv_freq /= params.number("scale");
  }
  return table;
}

OKAPI_ROPE_PLUGIN("step", "slow down only the pairs that never learned to turn", .params = kParams,
                  .table = step, .flags = OKAPI_ROPE_PLAIN_AT_SCALE_1)
