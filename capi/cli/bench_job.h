// What `okapi bench --job` measures: a long-context evaluation as it is run, start to end.
#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "capi/lua/c_api.h"

namespace okapi::cli {

struct JobSize {
  int64_t n_prompts = 0;
  int64_t length = 16384;  ///< of a prompt, in tokens
  int64_t n_new = 35;      ///< tokens generated for each, whatever they are
};

/// The lines task in LongChat's wording over so many prompts: seconds of the whole evaluation; of a
/// tenth as many deterministic and not; beside them the seconds of one prompt read whole for every
/// new token, as it was done without a cache, times the number of prompts. The model needs a
/// tokenizer.
nlohmann::ordered_json measure_job(okapi_runtime* runtime, okapi_model* model, const JobSize& size,
                                   uint64_t seed);

}  // namespace okapi::cli
