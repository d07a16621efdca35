// Model shapes that `okapi bench` knows.
#pragma once

#include <string>
#include <vector>

namespace okapi::cli {

/// Their names.
std::vector<std::string> bench_shapes();

/// A Hugging Face config.json of that shape.
std::string bench_config(const std::string& shape);

}  // namespace okapi::cli
