// The mapping of transformers' rope types. The expected specs follow transformers 5's
// modeling_rope_utils.py: which keys each type reads, which defaults it has, what it infers.

#include "runtime/model/rope_from_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "runtime/base/error.h"

namespace okapi::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kHeadDim = 8;
constexpr int64_t kMaxPositions = 1024;

RopeFromConfig map(const std::string& text) {
  const Json json = Json::parse(text);
  JsonFields fields(json, {"model", "config.json"});
  return rope_from_config(fields, kHeadDim, kMaxPositions);
}

std::string spec(const std::string& rope) {
  return map(R"({"rope_parameters": )" + rope + "}").spec;
}

TEST(RopeFromConfigTest, NoneOrDefaultIsPlain) {
  EXPECT_EQ(map("{}").spec, "plain");
  EXPECT_EQ(map("{}").base, 10000.0);
  EXPECT_EQ(map("{}").trained_length, kMaxPositions);
  EXPECT_EQ(map(R"({"rope_scaling": null, "rope_theta": 500000})").spec, "plain");
  EXPECT_EQ(map(R"({"rope_scaling": null, "rope_theta": 500000})").base, 500000.0);
  EXPECT_EQ(spec(R"({"rope_type": "default", "rope_theta": 10000.0})"), "plain");
  EXPECT_EQ(spec("{}"), "plain");
}

TEST(RopeFromConfigTest, BothSpellingsMeanTheSame) {
  const RopeFromConfig old_way =
      map(R"({"rope_theta": 1100.0, "rope_scaling": {"type": "linear", "factor": 2.0}})");
  const RopeFromConfig new_way =
      map(R"({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1100.0}})");
  EXPECT_EQ(old_way.spec, "linear:scale=2");
  EXPECT_EQ(old_way.spec, new_way.spec);
  EXPECT_EQ(old_way.base, 1100.0);
  EXPECT_EQ(new_way.base, 1100.0);
}

TEST(RopeFromConfigTest, DynamicScalesFromTheModelsOwnLength) {
  EXPECT_EQ(spec(R"({"rope_type": "dynamic", "factor": 4})"),
            "dynamic_ntk:scale=4,trained_length=1024");
  EXPECT_EQ(spec(R"({"rope_type": "dynamic", "factor": 4,
                     "original_max_position_embeddings": 1024})"),
            "dynamic_ntk:scale=4,trained_length=1024");
}

TEST(RopeFromConfigTest, YarnTakesItsLengthAndOptions) {
  EXPECT_EQ(spec(R"({"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 256})"),
            "yarn:scale=4,trained_length=256");
  EXPECT_EQ(spec(R"({"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 256,
                     "beta_fast": 16, "beta_slow": 2, "attention_factor": 1.3})"),
            "yarn:scale=8,trained_length=256,beta_fast=16,beta_slow=2,rotation_gain=1.3");
  EXPECT_EQ(spec(R"({"rope_type": "yarn", "factor": 8, "truncate": false})"),
            "yarn:scale=8,trained_length=1024,round=false");
}

TEST(RopeFromConfigTest, TheLengthBeforeScalingIsTheTrainedLength) {
  EXPECT_EQ(map(R"({"rope_parameters": {"rope_type": "yarn", "factor": 4,
                    "original_max_position_embeddings": 256}})")
                .trained_length,
            256);
  EXPECT_EQ(map(R"({"rope_parameters": {"rope_type": "linear", "factor": 4}})").trained_length,
            1024);
}

// A factor that is no ratio of the lengths is used as it is.
TEST(RopeFromConfigTest, AFactorNeedNotBeARatioOfLengths) {
  EXPECT_EQ(spec(R"({"rope_type": "yarn", "factor": 32, "original_max_position_embeddings": 256})"),
            "yarn:scale=32,trained_length=256");
}

TEST(RopeFromConfigTest, YarnAndLongropeInferAnUnsetFactor) {
  EXPECT_EQ(
      spec(R"({"rope_type": "yarn", "factor": null, "original_max_position_embeddings": 256})"),
      "yarn:scale=4,trained_length=256");
  EXPECT_EQ(spec(R"({"rope_type": "longrope", "short_factor": [1, 1, 1, 1],
                     "long_factor": [1, 2, 3, 4], "original_max_position_embeddings": 512})"),
            "longrope:scale=2,trained_length=512,short=1;1;1;1,long=1;2;3;4");
}

// DeepSeek: gain (0.1 mscale ln s + 1) / (0.1 mscale_all_dim ln s + 1); with ln 40 = 3.68887945...
// (1 + 0.1 * 3.6888794541139363) / (1 + 0.05 * 3.6888794541139363) = 1.15573...
TEST(RopeFromConfigTest, YarnReadsDeepseeksGain) {
  const std::string text = spec(R"({"rope_type": "yarn", "factor": 40,
      "original_max_position_embeddings": 256, "mscale": 1.0, "mscale_all_dim": 0.5})");
  const std::string start = "yarn:scale=40,trained_length=256,rotation_gain=";
  ASSERT_EQ(text.substr(0, start.size()), start);
  EXPECT_NEAR(std::stod(text.substr(start.size())), 1.36888794541139363 / 1.184443972705696815,
              1e-15);
  EXPECT_EQ(spec(R"({"rope_type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0})"),
            "yarn:scale=40,trained_length=1024,rotation_gain=1");
}

TEST(RopeFromConfigTest, KeysThatTransformersDropsAreReported) {
  const RopeFromConfig alone =
      map(R"({"rope_scaling": {"type": "yarn", "factor": 4, "mscale": 0.7}})");
  EXPECT_EQ(alone.spec, "yarn:scale=4,trained_length=1024");
  EXPECT_THAT(alone.ignored_keys, ElementsAre("rope_scaling.mscale"));

  const RopeFromConfig both = map(R"({"rope_parameters": {"rope_type": "yarn", "factor": 4,
      "mscale": 1, "mscale_all_dim": 0.5, "attention_factor": 1.5, "beta_slow": 0}})");
  EXPECT_EQ(both.spec, "yarn:scale=4,trained_length=1024,rotation_gain=1.5");
  EXPECT_THAT(both.ignored_keys, ElementsAre("rope_parameters.beta_slow", "rope_parameters.mscale",
                                             "rope_parameters.mscale_all_dim"));
}

TEST(RopeFromConfigTest, LongropePrefersItsOwnFactorAndGain) {
  EXPECT_EQ(spec(R"({"rope_type": "longrope", "factor": 4.0, "attention_factor": 1.25,
                     "short_factor": [1.0, 1.05, 1.1, 1.15], "long_factor": [1, 1.9, 2.8, 1e6],
                     "original_max_position_embeddings": 256})"),
            "longrope:scale=4,trained_length=256,short=1;1.05;1.1;1.15,long=1;1.9;2.8;1e+06,"
            "rotation_gain=1.25");
}

// Phi-3 writes the length beside the rope's keys.
TEST(RopeFromConfigTest, TheLengthMayStandBeside) {
  EXPECT_EQ(map(R"({"original_max_position_embeddings": 256,
                    "rope_scaling": {"type": "yarn", "factor": 4}})")
                .spec,
            "yarn:scale=4,trained_length=256");
}

TEST(RopeFromConfigTest, Llama3TakesItsBands) {
  EXPECT_EQ(spec(R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                     "high_freq_factor": 4.0, "original_max_position_embeddings": 256})"),
            "llama3:scale=8,trained_length=256,low_freq_factor=1,high_freq_factor=4");
}

// Half of the four pairs are kept; base^(-2i/8) is 1, .1, .01, .001, and the thresholds stand a
// third and two thirds of the way, by ratio, from the first stopped to the last kept one.
TEST(RopeFromConfigTest, ProportionalStopsTheSlowPairs) {
  const std::string text =
      spec(R"({"rope_type": "proportional", "partial_rotary_factor": 0.5, "factor": 2})");
  double a = 0;
  double b = 0;
  ASSERT_EQ(std::sscanf(text.c_str(), "truncated:a=%lf,b=%lf,rho=0 | linear:scale=2", &a, &b), 2)
      << text;
  EXPECT_NEAR(a, std::pow(10.0, -2.0 + 1.0 / 3.0), 1e-12);
  EXPECT_NEAR(b, std::pow(10.0, -2.0 + 2.0 / 3.0), 1e-12);
  EXPECT_EQ(spec(R"({"rope_type": "proportional"})"), "linear:scale=1");
}

TEST(RopeFromConfigTest, OkapisOwnSpecPassesThrough) {
  EXPECT_EQ(spec(R"({"rope_type": "okapi", "spec": "power:exponent=0.5"})"), "power:exponent=0.5");
}

TEST(RopeFromConfigTest, NullCountsAsAbsent) {
  EXPECT_EQ(spec(R"({"rope_type": "linear", "factor": 2, "attention_factor": null,
                     "low_freq_factor": null})"),
            "linear:scale=2");
}

struct Refused {
  const char* config;
  const char* field;
};

TEST(RopeFromConfigTest, EveryWrongKeyIsNamed) {
  const Refused cases[] = {
      {R"({"rope_scaling": 4})", "rope_scaling"},
      {R"({"rope_scaling": []})", "rope_scaling"},
      {R"({"rope_scaling": {"type": "su", "factor": 4}})", "rope_scaling.type"},
      {R"({"rope_parameters": {"rope_type": 3}})", "rope_parameters.rope_type"},
      {R"({"rope_scaling": {"type": "linear"}})", "rope_scaling.factor"},
      {R"({"rope_scaling": {"type": "linear", "factor": "4"}})", "rope_scaling.factor"},
      {R"({"rope_scaling": {"type": "linear", "factor": 0.5}})", "rope_scaling.factor"},
      {R"({"rope_scaling": {"type": "linear", "factor": 1e300}})", "rope_scaling.factor"},
      {R"({"rope_scaling": {"type": "linear", "factor": 2, "beta_fast": 3}})",
       "rope_scaling.beta_fast"},
      {R"({"rope_scaling": {"factor": 2}})", "rope_scaling.factor"},
      {R"({"rope_scaling": {"type": "linear", "rope_type": "yarn", "factor": 2}})",
       "rope_scaling.rope_type"},
      {R"({"rope_scaling": {"type": "dynamic"}})", "rope_scaling.factor"},
      {R"({"rope_scaling": {"type": "dynamic", "factor": 2, "original_max_position_embeddings": 256}})",
       "rope_scaling.original_max_position_embeddings"},
      {R"({"rope_scaling": {"type": "yarn"}})", "rope_scaling.factor"},
      {R"({"rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": 1}})",
       "rope_scaling.beta_fast"},
      {R"({"rope_scaling": {"type": "yarn", "factor": 2, "beta_slow": -1}})",
       "rope_scaling.beta_slow"},
      {R"({"rope_scaling": {"type": "yarn", "factor": 2, "truncate": 1}})",
       "rope_scaling.truncate"},
      {R"({"rope_scaling": {"type": "yarn", "factor": 2, "attention_factor": 0}})",
       "rope_scaling.attention_factor"},
      {R"({"rope_scaling": {"type": "yarn", "factor": 2, "finetuned": true}})",
       "rope_scaling.finetuned"},
      {R"({"rope_scaling": {"type": "yarn", "factor": null,
           "original_max_position_embeddings": 2048}})",
       "rope_scaling.original_max_position_embeddings"},
      {R"({"original_max_position_embeddings": 256, "rope_scaling": {"type": "yarn", "factor": 2,
           "original_max_position_embeddings": 512}})",
       "rope_scaling.original_max_position_embeddings"},
      {R"({"rope_scaling": {"type": "llama3", "factor": 8, "high_freq_factor": 4}})",
       "rope_scaling.low_freq_factor"},
      {R"({"rope_scaling": {"type": "llama3", "factor": 8, "low_freq_factor": 4,
           "high_freq_factor": 4}})",
       "rope_scaling.high_freq_factor"},
      {R"({"rope_scaling": {"type": "longrope", "long_factor": [1, 1, 1, 1]}})",
       "rope_scaling.short_factor"},
      {R"({"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1],
           "long_factor": [1, 1, 1]}})",
       "rope_scaling.long_factor"},
      {R"({"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 0, 1],
           "long_factor": [1, 1, 1, 1]}})",
       "rope_scaling.short_factor[2]"},
      {R"({"rope_parameters": {"rope_type": "okapi"}})", "rope_parameters.spec"},
      {R"({"rope_parameters": {"rope_type": "okapi", "spec": ""}})", "rope_parameters.spec"},
      {R"({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}})",
       "rope_parameters.partial_rotary_factor"},
      {R"({"rope_parameters": {"full_attention": {"rope_type": "default"}}})",
       "rope_parameters.full_attention"},
      {R"({"rope_theta": 0})", "rope_theta"},
      {R"({"rope_theta": 1})", "rope_theta"},
      {R"({"rope_theta": 500000, "rope_parameters": {"rope_type": "default", "rope_theta": 10000}})",
       "rope_parameters.rope_theta"},
      {R"({"rope_scaling": {"type": "linear", "factor": 2},
           "rope_parameters": {"rope_type": "linear", "factor": 4}})",
       "rope_scaling"},
  };
  for (const Refused& refused : cases) {
    try {
      const RopeFromConfig result = map(refused.config);
      ADD_FAILURE() << refused.config << " was accepted as " << result.spec;
    } catch (const Error& error) {
      EXPECT_EQ(error.field_name(), refused.field) << refused.config << ": " << error.message();
      EXPECT_THAT(error.message(), HasSubstr(refused.field));
      EXPECT_EQ(error.file(), "config.json");
    }
  }
}

}  // namespace
}  // namespace okapi::test
