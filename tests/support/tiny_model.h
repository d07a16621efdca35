// Writes small Llama checkpoints with random weights, as Hugging Face folders.
//
//   const TemporaryFolder folder;
//   write_tiny_model(folder.path(), {.dtype = DType::bf16, .n_shards = 3});
//   const Checkpoint checkpoint = Checkpoint::open(folder.path());
//
// Add ../support/tiny_model.cpp to the test's SOURCES.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "backends/tensor_view.h"
#include "runtime/base/json.h"
#include "runtime/model/model_config.h"

namespace okapi::test {

struct TinyModel {
  int64_t n_layers = 2;
  int64_t d_model = 64;
  int64_t d_ff = 176;
  int64_t vocab_size = 512;  ///< at least 1024 with a tokenizer
  int64_t n_heads = 4;
  int64_t n_kv_heads = 2;
  int64_t head_dim = 16;
  int64_t trained_length = 256;
  double rms_norm_eps = 1e-5;
  bool tied_embeddings = false;
  DType dtype = DType::f32;  ///< or f16, bf16
  int n_shards = 1;          ///< above 1: shards and an index
  bool with_tokenizer = false;
  uint64_t seed = 1;
  Json rope_parameters = {{"rope_type", "default"}, {"rope_theta", 10000.0}};
  Json more_config = Json::object();  ///< merged over the other keys; null removes one
};

/// The text of its config.json.
Json tiny_model_config(const TinyModel& model);

/// The values of every tensor, by name, already rounded to the dtype. Projections are uniform with
/// deviation 1 / sqrt(inputs), norm weights lie around 1.
std::map<std::string, std::vector<float>> tiny_model_weights(const TinyModel& model);

/// config.json, the weights, and the savanna models' tokenizer.model if asked for.
void write_tiny_model(const std::filesystem::path& folder, const TinyModel& model = {});

/// Rounded to the nearest, ties to even, as the hardware does.
uint16_t to_bf16(float value);
uint16_t to_f16(float value);
float from_bf16(uint16_t bits);
float from_f16(uint16_t bits);

}  // namespace okapi::test
