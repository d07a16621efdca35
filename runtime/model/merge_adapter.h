// A base model and an adapter made into one model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

#include "backends/tensor_view.h"
#include "runtime/base/cancel.h"

namespace okapi {

struct MergeOptions {
  std::optional<DType> dtype;  ///< of the weights that change: f32, f16 or bf16; none: the base's
  std::function<void(int64_t done, int64_t total)> progress;  ///< tensors
  const CancelToken* cancel = nullptr;
};

/// Writes `base` with the adapter (a peft folder) in its weights as a Hugging Face folder: W +
/// scale B A, formed in double. Throws as Checkpoint::open and Adapter::load do,
/// invalid_argument when `out` is one of the other two, and out_of_range when a weight does not fit
/// its dtype.
void merge_adapter(const std::filesystem::path& base, const std::filesystem::path& adapter,
                   const std::filesystem::path& out, const MergeOptions& options = {});

}  // namespace okapi
