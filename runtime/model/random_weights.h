// Weights nobody trained: normal, seeded, the same on every machine.
#pragma once

#include <cstdint>

#include "runtime/model/weights.h"

namespace okapi {

/// Norms are 1; every other tensor is normal with the given deviation, from a stream of its own, so
/// that a tensor's values do not depend on which others were asked for. Uses up to `n_threads`.
WeightSource random_weight_source(const ModelConfig& config, uint64_t seed, double deviation,
                                  DType dtype, int n_threads);

/// The standard normal quantile at `probability` in (0, 1), accurate to 1e-13 of its size. Plain
/// arithmetic only (not even log), so that every machine gives the same bits.
double normal_quantile(double probability);

}  // namespace okapi
