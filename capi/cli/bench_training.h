// What `okapi bench --training` measures: steps of one training configuration.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "capi/cli/bench_measure.h"

namespace okapi::cli {

/// Opens the trainer of a configuration file, makes a step that does not count, then n_rounds times
/// a ceiling and a step: the best of each counts. Nothing is evaluated or saved.
nlohmann::ordered_json measure_training(okapi_runtime* runtime, const std::string& config_file,
                                        int64_t n_rounds, const ProductSize& product);

}  // namespace okapi::cli
