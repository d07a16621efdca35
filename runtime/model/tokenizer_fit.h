// Whether a tokenizer belongs to a model.
#pragma once

#include <string>
#include <vector>

#include "runtime/model/model_config.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

/// Throws invalid_argument, naming the tokenizer's file, when it gives ids the model has no
/// embedding for, or lacks a special piece that the configuration names (the first or the last id
/// of a text). Returns what is odd but works, for the caller to log: special ids that differ.
std::vector<std::string> check_tokenizer_fits(const ModelConfig& config,
                                              const Tokenizer& tokenizer);

}  // namespace okapi
