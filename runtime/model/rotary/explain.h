// What a rope does to each pair, as data for people and programs.
#pragma once

#include "runtime/base/json.h"
#include "runtime/model/rotary/rope.h"

namespace okapi {

/// A JSON object of the rope at one layer and declared length:
///
///   what Rope::json_at says (spec, schemes, parameters and where each came from), and
///   geometry   head_dim, rotary_dim, base, trained_length, target_length, layer, n_layers
///   table      sha256, rotation_gain, attention_temperature
///   pairs      per pair: pair, inv_freq (radians per token), wavelength (tokens; null: stopped),
///              turns_trained, turns_target, ratio (to the plain frequency) and label:
///              "kept" (ratio 1), "stretched" (below 1), "squeezed" (above 1), "stopped" (0)
///   decay      of the score of an all-ones query and key: distance, score (the sum over channels,
///   with
///              gain, temperature and magnitudes; D at distance 0 under plain RoPE)
Json explain(const Rope& rope, const RopeGeometry& geometry);

}  // namespace okapi
