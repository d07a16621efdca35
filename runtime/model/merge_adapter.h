// A base model and an adapter made into one model.
#pragma once

#include <filesystem>
#include <optional>

#include "backends/tensor_view.h"

namespace okapi {

/// Writes `base` with the adapter (a peft folder) in its weights as a Hugging Face folder: W +
/// scale B A, formed in double and rounded once. `dtype` is that of the weights it changes; none:
/// as the base has them. Throws as Checkpoint::open and Adapter::load do.
void merge_adapter(const std::filesystem::path& base, const std::filesystem::path& adapter,
                   const std::filesystem::path& out, std::optional<DType> dtype = std::nullopt);

}  // namespace okapi
