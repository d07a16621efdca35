// A fine-tuned model as the difference from its base, for publishing without the base.
//
//   make_delta("base", "tuned", "delta", {.dtype = DType::f16});
//   check_delta("base", "delta");
//   apply_delta("base", "delta", "restored", {});
//
// The folder holds delta.safetensors, whose tensors have the model's names and shapes and whose
// metadata names format, base, tuned model and dtype; and the tuned model's config.json (with its
// rope) and tokenizer. Sums are formed in double.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "backends/tensor_view.h"
#include "runtime/base/cancel.h"

namespace okapi {

struct DeltaOptions {
  /// Of the differences, or of the restored weights: f32, f16 or bf16. None: differences are f16,
  /// restored weights what the base's are.
  std::optional<DType> dtype;
  std::function<void(int64_t done, int64_t total)> progress;  ///< tensors; bytes of a check alone
  const CancelToken* cancel = nullptr;
};

/// What a delta says of itself.
struct DeltaInfo {
  std::string base_sha256;   ///< Checkpoint::sha256 of the base
  std::string tuned_sha256;  ///< and of the tuned model
  std::string rope;          ///< the tuned model's
  DType dtype = DType::f16;
};

/// Throws invalid_argument when the two models differ in the shape of a tensor, out_of_range when a
/// difference does not fit the dtype. No folder to write to may be one that is read.
void make_delta(const std::filesystem::path& base, const std::filesystem::path& tuned,
                const std::filesystem::path& delta, const DeltaOptions& options = {});

/// Throws failed_precondition when the delta was made from another base, data_loss when it lacks a
/// tensor, or has one of another shape than the base's or of another dtype than it says.
DeltaInfo check_delta(const std::filesystem::path& base, const std::filesystem::path& delta,
                      const DeltaOptions& options = {});

/// Writes base + delta as a Hugging Face folder. Checks first. Throws out_of_range when a sum does
/// not fit its dtype.
void apply_delta(const std::filesystem::path& base, const std::filesystem::path& delta,
                 const std::filesystem::path& out, const DeltaOptions& options = {});

}  // namespace okapi
