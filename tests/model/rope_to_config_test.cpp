// A rope written into a config.json reads back as the same rope.
#include "runtime/model/rope_to_config.h"

#include <gtest/gtest.h>

#include "runtime/model/model_config.h"
#include "runtime/model/rotary/rope.h"
#include "tests/support/engine.h"

namespace okapi::test {
namespace {

std::shared_ptr<const Model> small_model() {
  static const std::shared_ptr<const Model> kModel = Model::random(engine(), small_config(), 1);
  return kModel;
}

Json written(const Json& config, const std::string& spec) {
  return config_with_rope(config, *small_model()->parse_rope(spec));
}

std::string read_back(const Json& config) {
  const ModelConfig read = parse_model_config(config.dump(), "config.json");
  RopeGeometry geometry = small_model()->rope_geometry();
  geometry.base = read.rope_base;
  geometry.trained_length = geometry.target_length = read.trained_length;
  return Rope::parse(read.rope_spec, engine()->plugin_host(), geometry)->canonical();
}

TEST(RopeToConfigTest, ReadsBackAsTheSameRope) {
  Json old_spelling = Json::parse(small_config());
  Json new_spelling = old_spelling;
  new_spelling.erase("rope_theta");
  new_spelling["rope_parameters"] = {{"rope_type", "yarn"},
                                     {"factor", 2.0},
                                     {"original_max_position_embeddings", 64},
                                     {"rope_theta", 10000.0}};
  Json scaled = old_spelling;
  scaled["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  for (const Json& config : {old_spelling, new_spelling, scaled}) {
    for (const char* spec :
         {"plain", "linear:scale=4", "power:exponent=0.5", "yarn:scale=8",
          "linear:scale=2 | xpos:scale_base=128", "randomized", "plain:base=50000",
          "dynamic_ntk:scale=4", "dynamic_ntk:scale=4,trained_length=32", "dynamic_ntk",
          "yarn:scale=8,beta_fast=16,beta_slow=2,rotation_gain=1.3,base=500", "yarn",
          "yarn:scale=4,round=false", "yarn:scale=4,ramp=rotations",
          "yarn:scale=4,trained_length=32", "yarn:scale=4,attention_temperature=0.9",
          "llama3:scale=4,low_freq_factor=0.5",
          "longrope:scale=4,short=1;1.5;2;2;2;2;2;2.5,long=1;3;5;7;7;7;7;9",
          "longrope:scale=4,short=1;1;1;1;1;1;1;1,long=2;2;2;2;2;2;2;2,rotation_gain=1.25"}) {
      EXPECT_EQ(read_back(written(config, spec)), small_model()->parse_rope(spec)->canonical())
          << spec << " in " << config;
    }
  }
}

TEST(RopeToConfigTest, TransformersReadsWhatItKnowsAndRefusesTheRest) {
  const Json config = Json::parse(small_config());
  EXPECT_EQ(written(config, "linear:scale=4")["rope_scaling"],
            (Json{{"rope_type", "linear"}, {"factor", 4.0}}));
  EXPECT_FALSE(written(config, "plain").contains("rope_scaling"));
  EXPECT_EQ(written(config, "plain:base=50000")["rope_theta"], 50000.0);
  // The keys are those of transformers' modeling_rope_utils.py.
  EXPECT_EQ(written(config, "dynamic_ntk:scale=4,base=500")["rope_scaling"],
            (Json{{"rope_type", "dynamic"}, {"factor", 4.0}}));
  EXPECT_EQ(written(config, "dynamic_ntk:scale=4,base=500")["rope_theta"], 500.0);
  EXPECT_EQ(
      written(config, "yarn:scale=8,beta_fast=16,round=false,rotation_gain=1.3")["rope_scaling"],
      (Json{{"rope_type", "yarn"},
            {"factor", 8.0},
            {"original_max_position_embeddings", 64},
            {"beta_fast", 16.0},
            {"beta_slow", 1.0},
            {"truncate", false},
            {"attention_factor", 1.3}}));
  // What earlier versions take for the factor is max_position_embeddings over the original length.
  EXPECT_EQ(written(config, "yarn:scale=8")["max_position_embeddings"], 8 * 64);
  EXPECT_EQ(written(config, "llama3:scale=8")["max_position_embeddings"], 64);
  EXPECT_EQ(written(config, "llama3:scale=8")["rope_scaling"],
            (Json{{"rope_type", "llama3"},
                  {"factor", 8.0},
                  {"original_max_position_embeddings", 64},
                  {"low_freq_factor", 1.0},
                  {"high_freq_factor", 4.0}}));
  EXPECT_EQ(
      written(config,
              "longrope:scale=4,short=1;1;1;1;1;1;1;1.5,long=1;3;3;3;3;3;3;7")["rope_scaling"],
      (Json{{"rope_type", "longrope"},
            {"factor", 4.0},
            {"original_max_position_embeddings", 64},
            {"short_factor", {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.5}},
            {"long_factor", {1.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 7.0}}}));
  for (const char* spec :
       {"power", "linear", "yarn", "ntk:scale=2", "linear:scale=2 | power",
        "yarn:scale=4,ramp=rotations", "yarn:scale=4,attention_temperature=0.9",
        "dynamic_ntk:scale=4,trained_length=32", "yarn:scale=4,trained_length=32"}) {
    EXPECT_EQ(written(config, spec)["rope_parameters"]["rope_type"], "okapi") << spec;
  }
}

}  // namespace
}  // namespace okapi::test
