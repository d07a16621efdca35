// Objects to test with: a runtime over the build's own modules, a tiny random model, a folder of
// one.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/capi/support.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {

/// Vocabulary of the tokenizer that model folders come with.
inline constexpr int64_t kVocabSize = 1024;
inline constexpr int64_t kTrainedLength = 64;

/// A runtime with one thread, so that results of threads can be compared; `fill` changes the
/// options.
template <typename Fill>
RuntimePtr make_runtime(Fill&& fill) {
  okapi_runtime_options options = OKAPI_RUNTIME_OPTIONS_INIT;
  options.n_threads = 1;
  fill(options);
  return create<RuntimePtr>([&](okapi_runtime** out, okapi_error** error) {
    return okapi_runtime_create(&options, out, error);
  });
}
RuntimePtr make_runtime();

/// Text of the config.json of a Llama of two small layers.
std::string tiny_config();

/// Random weights, no tokenizer.
ModelPtr make_random_model(okapi_runtime* runtime);

/// Writes a model with tokenizer into the folder, and opens one.
void write_model(const std::filesystem::path& folder);
ModelPtr open_model(okapi_runtime* runtime, const std::filesystem::path& folder);

/// Writes a LoRA adapter for the model in `model_folder`: q, v, o and down, with random matrices
/// that move its logits by some tenths.
void write_adapter(const std::filesystem::path& model_folder, const std::filesystem::path& folder,
                   uint64_t seed = 1);
AdapterPtr open_adapter(okapi_model* model, const std::filesystem::path& folder);

RopePtr make_rope(const okapi_model* model, const char* spec);
SessionPtr make_session(okapi_model* model, const okapi_session_options* options = nullptr);

/// n ids that differ from place to place, none of them special.
std::vector<int32_t> some_ids(int64_t n, int32_t first = 7);

/// The logits a call left, copied.
std::vector<float> prefill(okapi_session* session, const std::vector<int32_t>& ids);

/// Largest absolute difference; infinity if the sizes differ.
double distance(const std::vector<float>& left, const std::vector<float>& right);

/// Two ways to compute the same logits differ by f32 rounding: sums of up to a few hundred terms of
/// size around 1, so by some 1e-6; a wrong token or position changes them by 0.1 and more.
inline constexpr double kRounding = 1e-4;

}  // namespace okapi::test
