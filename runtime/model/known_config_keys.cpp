#include "runtime/model/known_config_keys.h"

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/base/error.h"

namespace okapi {

namespace {

// Bookkeeping, settings of training, and defaults of text generation. None of them changes what a
// forward pass computes.
constexpr const char* kHarmless[] = {
    // bookkeeping
    "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path",
    "attn_implementation", "auto_map", "dtype", "finetuning_task", "id2label", "is_llama_config",
    "label2id", "max_window_layers", "model_type", "name_or_path", "num_labels", "problem_type",
    "task_specific_params", "tokenizer_class", "torch_dtype", "transformers.js_config",
    "transformers_version", "unsloth_fixed", "unsloth_version",
    // how transformers runs it; the numbers are the same
    "chunk_size_feed_forward", "keys_to_ignore_at_inference", "output_attentions",
    "output_hidden_states", "pretraining_tp", "return_dict", "return_dict_in_generate",
    "tf_legacy_loss", "torchscript", "use_bfloat16", "use_cache",
    // initialisation and dropout, which a loaded model in evaluation does not use
    "attention_dropout", "attn_pdrop", "embd_pdrop", "hidden_dropout", "initializer_range",
    "resid_pdrop",
    // defaults of generation
    "bad_words_ids", "begin_suppress_tokens", "decoder_start_token_id", "diversity_penalty",
    "do_sample", "early_stopping", "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id",
    "length_penalty", "max_length", "max_new_tokens", "min_length", "no_repeat_ngram_size",
    "num_beam_groups", "num_beams", "num_return_sequences", "output_scores", "prefix",
    "remove_invalid_values", "repetition_penalty", "sep_token_id", "suppress_tokens", "temperature",
    "top_k", "top_p", "typical_p"};

/// A feature that changes the numbers, and the values of its key that leave it off. Null always
/// does.
struct Feature {
  const char* key;
  std::vector<Json> off;
};

const std::vector<Feature>& features() {
  static const std::vector<Feature> kFeatures = {
      // what the layers compute
      {"attention_bias", {false}},
      {"mlp_bias", {false}},
      {"bias", {false}},
      {"qkv_bias", {false}},
      {"use_qkv_bias", {false}},
      {"use_qk_norm", {false}},
      {"qk_norm", {false}},
      {"qk_layernorm", {false}},
      {"use_parallel_residual", {false}},
      {"parallel_attn", {false}},
      {"attn_logit_softcapping", {}},
      {"final_logit_softcapping", {}},
      {"query_pre_attn_scalar", {}},
      {"attention_multiplier", {}},
      {"embedding_multiplier", {1}},
      {"residual_multiplier", {1}},
      {"logits_scaling", {1}},
      {"logit_scale", {1}},
      {"scale_emb", {1}},
      {"scale_depth", {}},
      {"dim_model_base", {}},
      {"pruned_heads", {Json::object()}},
      {"is_decoder", {true, false}},
      {"is_encoder_decoder", {false}},
      {"add_cross_attention", {false}},
      {"cross_attention_hidden_size", {}},
      {"tie_encoder_decoder", {false}},
      // which keys a query sees, and where
      {"sliding_window", {}},
      {"use_sliding_window", {false}},
      {"attention_chunk_size", {}},
      {"no_rope_layers", {Json::array()}},
      {"no_rope_layer_interval", {0}},
      {"alibi", {false}},
      {"use_alibi", {false}},
      {"rope_interleaved", {false}},
      {"partial_rotary_factor", {1}},
      {"rotary_pct", {1}},
      {"mrope_section", {}},
      // mixtures of experts
      {"num_experts", {0}},
      {"num_local_experts", {0}},
      {"n_routed_experts", {0}},
      {"num_nextn_predict_layers", {0}},
      // weights that are not plain numbers
      {"quantization_config", {}},
      {"compression_config", {}},
  };
  return kFeatures;
}

[[noreturn]] void refuse(const JsonFields& config, const std::string& key, const Json& found,
                         const std::string& accepted) {
  throw Error(Code::unimplemented, config.path_of(key) +
                                       ": this feature is not implemented; wanted " + accepted +
                                       ", found " + describe_json(found))
      .in(config.place().component)
      .field(config.path_of(key))
      .at(config.place().file);
}

/// transformers writes a layer type per layer for models that mix them.
void check_layer_types(JsonFields& config) {
  const Json* types = config.value("layer_types");
  if (types == nullptr) return;
  const bool all_full =
      types->is_array() && std::all_of(types->begin(), types->end(),
                                       [](const Json& type) { return type == "full_attention"; });
  if (!all_full) refuse(config, "layer_types", *types, "\"full_attention\" for every layer");
}

}  // namespace

void check_other_config_keys(JsonFields& config) {
  for (const char* key : kHarmless) config.ignore(key);

  check_layer_types(config);
  // A window that is switched off says nothing: Qwen's configurations carry one.
  const Json* use_window = config.value("use_sliding_window");
  const bool window_is_off = use_window != nullptr && *use_window == false;

  for (const Feature& feature : features()) {
    const Json* found = config.value(feature.key);
    if (found == nullptr) continue;
    if (window_is_off && std::string_view(feature.key) == "sliding_window") continue;
    if (std::find(feature.off.begin(), feature.off.end(), *found) != feature.off.end()) continue;

    std::string accepted = "it absent or null";
    for (const Json& value : feature.off) accepted += " or " + value.dump();
    refuse(config, feature.key, *found, accepted);
  }
}

}  // namespace okapi
