// What a checkpoint says about itself: the sizes of a Llama, its rotary scheme, its special ids.
// Read from the config.json of a Hugging Face folder, with every key checked.
//
//   const ModelConfig config = read_model_config("models/savanna-5m");
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace okapi {

/// Which two channels of a head form rotary pair i (H = head_dim / 2). A property of the weights.
enum class PairLayout {
  half_split,   ///< (x[i], x[i + H]): Hugging Face's Llama weights
  interleaved,  ///< (x[2i], x[2i + 1]): Meta's original weights
};

struct ModelConfig {
  std::string architecture;  ///< "LlamaForCausalLM"

  int64_t n_layers = 0;
  int64_t d_model = 0;
  int64_t d_ff = 0;
  int64_t vocab_size = 0;
  int64_t n_heads = 0;     ///< query heads
  int64_t n_kv_heads = 0;  ///< divides n_heads
  int64_t head_dim = 0;    ///< even; n_heads * head_dim need not be d_model
  double rms_norm_eps = 0;
  bool tied_embeddings = false;  ///< the output projection is the embedding table

  /// The length the unscaled rotation was trained at: original_max_position_embeddings where a
  /// scheme gives it, else max_position_embeddings. Schemes take it as their trained_length.
  int64_t trained_length = 0;
  int64_t max_position_embeddings = 0;  ///< the longest context the checkpoint claims
  double rope_base = 10000.0;
  /// The checkpoint's scheme as okapi writes it: "plain", "yarn:scale=4,trained_length=512".
  std::string rope_spec = "plain";
  PairLayout pair_layout = PairLayout::half_split;

  int32_t bos_id = -1;  ///< -1: none
  int32_t eos_id = -1;  ///< the first of eos_ids, or -1
  int32_t pad_id = -1;
  std::vector<int32_t> eos_ids;  ///< each of them ends a text

  /// Keys of config.json that were not used, for the caller to log: nothing is silently ignored.
  std::vector<std::string> ignored_keys;
};

/// Throws not_found, data_loss (malformed JSON), invalid_argument (a key missing, mistyped, out of
/// range or contradicting another) or unimplemented (a feature this engine lacks), each naming the
/// file and the key. Ending ids come from generation_config.json where the folder has one, as for
/// transformers' generate().
ModelConfig read_model_config(const std::filesystem::path& folder,
                              std::string_view config_file = "config.json");

/// The same for the text of a config.json; `name` stands for the file in errors.
ModelConfig parse_model_config(std::string_view text, const std::string& name);

}  // namespace okapi
