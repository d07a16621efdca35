// Maps the rotary scheme of a Hugging Face configuration to okapi's words for it.
//
//   {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}
//     -> "yarn:scale=4,trained_length=512"
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/json.h"

namespace okapi {

struct RopeFromConfig {
  std::string spec;                       ///< "plain" when the checkpoint has no scheme
  double base = 0;                        ///< rope_theta
  int64_t trained_length = 0;             ///< see ModelConfig::trained_length
  std::vector<std::string> ignored_keys;  ///< paths of keys that transformers too reads and drops
};

/// Reads both spellings, `rope_scaling` beside `rope_theta` and transformers 5's `rope_parameters`,
/// with the meaning transformers 5 gives them. The types: default, linear, dynamic, yarn, longrope,
/// llama3, proportional, and okapi, whose `spec` is passed through. Throws naming the key for one
/// that is unknown, missing, mistyped, out of range or contradicts another.
RopeFromConfig rope_from_config(JsonFields& config, int64_t head_dim,
                                int64_t max_position_embeddings);

}  // namespace okapi
