#include "runtime/model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/base/json.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Llama 2 7B's sizes.
Json llama2() {
  return Json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 32,
    "hidden_size": 4096, "intermediate_size": 11008, "vocab_size": 32000,
    "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-05, "hidden_act": "silu", "tie_word_embeddings": false,
    "bos_token_id": 1, "eos_token_id": 2})");
}

ModelConfig parse(const Json& json) { return parse_model_config(json.dump(), "config.json"); }

Json with(const std::string& key, const Json& value) {
  Json json = llama2();
  json[key] = value;
  return json;
}

TEST(ModelConfigTest, ReadsTheSizes) {
  const ModelConfig config = parse(llama2());
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.n_layers, 32);
  EXPECT_EQ(config.d_model, 4096);
  EXPECT_EQ(config.d_ff, 11008);
  EXPECT_EQ(config.vocab_size, 32000);
  EXPECT_EQ(config.n_heads, 32);
  EXPECT_EQ(config.n_kv_heads, 32);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.max_position_embeddings, 4096);
  EXPECT_EQ(config.trained_length, 4096);
  EXPECT_EQ(config.rope_spec, "plain");
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_EQ(config.pair_layout, PairLayout::half_split);
  EXPECT_EQ(config.bos_id, 1);
  EXPECT_EQ(config.eos_id, 2);
  EXPECT_EQ(config.pad_id, -1);
  EXPECT_THAT(config.ignored_keys, IsEmpty());
}

TEST(ModelConfigTest, FillsInWhatTransformersFillsIn) {
  Json json = llama2();
  for (const char* key : {"num_key_value_heads", "hidden_act", "tie_word_embeddings",
                          "bos_token_id", "eos_token_id", "architectures"}) {
    json.erase(key);
  }
  const ModelConfig config = parse(json);
  EXPECT_EQ(config.n_kv_heads, 32);
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_EQ(config.bos_id, -1);
  EXPECT_EQ(config.eos_id, -1);
  EXPECT_THAT(config.eos_ids, IsEmpty());
}

TEST(ModelConfigTest, KeepsEveryEndingId) {
  const ModelConfig config = parse(with("eos_token_id", {128, 129, 130}));
  EXPECT_THAT(config.eos_ids, ElementsAre(128, 129, 130));
  EXPECT_EQ(config.eos_id, 128);
}

TEST(ModelConfigTest, TakesEndingIdsFromTheGenerationConfiguration) {
  const TemporaryFolder folder;
  folder.write("config.json", llama2().dump());
  EXPECT_THAT(read_model_config(folder.path()).eos_ids, ElementsAre(2));
  folder.write("generation_config.json", R"({"eos_token_id": [7, 8], "temperature": 0.6})");
  EXPECT_THAT(read_model_config(folder.path()).eos_ids, ElementsAre(7, 8));
}

TEST(ModelConfigTest, HeadsNeedNotFillTheWidth) {
  EXPECT_EQ(parse(with("head_dim", 64)).head_dim, 64);
}

TEST(ModelConfigTest, AcceptsKeysThatChangeNothing) {
  Json json = llama2();
  json.merge_patch(Json::parse(R"({
    "_name_or_path": "x", "torch_dtype": "float16", "use_cache": true, "initializer_range": 0.02,
    "pretraining_tp": 1, "attention_dropout": 0.0, "transformers_version": "4.31.0",
    "attention_bias": false, "mlp_bias": false, "use_sliding_window": false,
    "layer_types": ["full_attention", "full_attention"]})"));
  json["sliding_window"] = 4096;  // off, as the key above says
  json["quantization_config"] = nullptr;
  EXPECT_THAT(parse(json).ignored_keys, IsEmpty());
}

TEST(ModelConfigTest, ReportsKeysItDoesNotKnow) {
  Json json = llama2();
  json["made_up"] = 3;
  json["rope_scaling"] = {{"type", "yarn"}, {"factor", 2.0}, {"mscale", 1.0}};
  EXPECT_THAT(parse(json).ignored_keys, ElementsAre("rope_scaling.mscale", "made_up"));
}

TEST(ModelConfigTest, RefusesFeaturesItLacksByName) {
  const std::vector<std::pair<std::string, Json>> features = {
      {"architectures", Json::array({"MistralForCausalLM"})},
      {"model_type", "qwen2"},
      {"hidden_act", "gelu"},
      {"attention_bias", true},
      {"mlp_bias", true},
      {"sliding_window", 4096},
      {"use_sliding_window", true},
      {"layer_types", Json::array({"full_attention", "sliding_attention"})},
      {"quantization_config", {{"quant_method", "gptq"}}},
      {"partial_rotary_factor", 0.5},
      {"rope_interleaved", true},
      {"num_local_experts", 8},
      {"final_logit_softcapping", 30.0},
      {"attention_multiplier", 0.5},
      {"is_encoder_decoder", true},
      {"pruned_heads", {{"1", Json::array({0})}}},
  };
  for (const auto& [key, value] : features) {
    try {
      parse(with(key, value));
      ADD_FAILURE() << key << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::unimplemented) << key;
      EXPECT_EQ(error.field_name(), key);
      EXPECT_THAT(error.message(), HasSubstr("found"));
      EXPECT_EQ(error.file(), "config.json");
    }
  }
}

TEST(ModelConfigTest, TheSameKeysSwitchedOffAreFine) {
  const std::vector<std::pair<std::string, Json>> off = {
      {"attention_bias", false},         {"sliding_window", nullptr},
      {"quantization_config", nullptr},  {"pruned_heads", Json::object()},
      {"partial_rotary_factor", 1.0},    {"rope_interleaved", false},
      {"num_local_experts", 0},          {"is_decoder", true},
      {"no_rope_layers", Json::array()}, {"logits_scaling", 1.0}};
  for (const auto& [key, value] : off) EXPECT_NO_THROW(parse(with(key, value))) << key;
}

}  // namespace
}  // namespace okapi::test
