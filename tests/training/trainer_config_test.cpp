#include "runtime/training/trainer_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

Json smallest() {
  return {{"model", "models/savanna-5m"},
          {"steps", 10},
          {"optimizer", {{"learning_rate", 1e-3}}},
          {"batch", {{"sequences", 4}}}};
}

/// The smallest configuration with a value at a path of keys.
Json with(const std::vector<std::string>& path, const Json& value) {
  Json json = smallest();
  Json* at = &json;
  for (const std::string& key : path) at = &(*at)[key];
  *at = value;
  return json;
}

std::string message_of(const Json& json) {
  return error_of([&] { static_cast<void>(TrainerConfig::from_json(json, "run.yaml")); }).message();
}

TEST(TrainerConfigTest, SmallestHasTheDefaultsOfTheHeader) {
  const TrainerConfig config = TrainerConfig::from_json(smallest());
  EXPECT_EQ(config.trained, std::vector<std::string>{"all"});
  EXPECT_EQ(config.optimizer.beta2, 0.999);
  EXPECT_EQ(config.optimizer.clip, 1.0);
  EXPECT_TRUE(config.optimizer.decay_vectors);
  EXPECT_EQ(config.schedule.kind, ScheduleKind::constant);
  EXPECT_FALSE(config.recompute.has_value());
  EXPECT_FALSE(config.random_init.has_value());
  EXPECT_FALSE(config.lora.has_value());
  EXPECT_EQ(config.checkpoint.keep, 2);
  EXPECT_EQ(config.evaluation.bucket, 512);
}

TEST(TrainerConfigTest, WrittenOutReadsBackTheSame) {
  Json json = smallest();
  json["init"] = {{"random", {{"deviation", 0.05}, {"scale_residual", true}}}};
  json["rope"] = {{"train", "xpos"},
                  {"eval", "plain"},
                  {"schedule",
                   {{{"scheme", "xpos"},
                     {"parameter", "scale_base"},
                     {"from", 8192},
                     {"to", 128},
                     {"by", 8}}}}};
  json["parameters"] = {{"train", {"lora", "norm"}},
                        {"groups", {{{"match", "norm"}, {"weight_decay", 0.0}}}}};
  json["lora"] = {{"rank", 4}, {"targets", {"q_proj", "v_proj"}}, {"dropout", 0.1}};
  json["schedule"] = {{"kind", "cosine"}, {"warmup", 3}, {"floor", 0.1}};
  json["recompute"] = true;
  json["base_dtype"] = "bf16";
  json["compute_dtype"] = "bf16";
  json["deterministic"] = false;
  json["checkpoint"] = {{"folder", "out"}, {"every", 5}, {"dtype", "bf16"}};
  json["data"] = {{"dataset", "text"}};
  const TrainerConfig config = TrainerConfig::from_json(json);
  const Json written = config.json();
  EXPECT_EQ(TrainerConfig::from_json(written).json(), written);
  EXPECT_EQ(config.rope.schedule.at(0).every, 1);
  EXPECT_EQ(written["data"]["dataset"], "text");
}

TEST(TrainerConfigTest, UnknownKeyIsNamedWithTheNearestKnownOne) {
  EXPECT_THAT(message_of(with({"optimizer", "learning_rat"}, 1)),
              HasSubstr("optimizer.learning_rat: unknown key; did you mean learning_rate?"));
  EXPECT_THAT(message_of(with({"sede"}, 1)), HasSubstr("sede: unknown key; did you mean seed?"));
  EXPECT_THAT(message_of(with({"batch", "size"}, 1)), HasSubstr("batch.size: unknown key"));
}

TEST(TrainerConfigTest, AKeyInTheWrongPlaceIsToldItsOwn) {
  EXPECT_THAT(message_of(with({"learning_rate"}, 1)),
              HasSubstr("learning_rate: unknown key; did you mean optimizer.learning_rate?"));
  EXPECT_THAT(message_of(with({"every"}, 1)),
              HasSubstr("did you mean checkpoint.every or evaluation.every?"));
  // Mistyped, and so missing as well.
  Json json = smallest();
  json["optimiser"] = json["optimizer"];
  json.erase("optimizer");
  EXPECT_THAT(message_of(json), HasSubstr("optimiser: unknown key; did you mean optimizer?"));
}

/// Every key of a tree, by itself.
void collect_keys(const Json& json, std::set<std::string>& keys) {
  for (const auto& item : json.items()) {
    if (json.is_object()) keys.insert(item.key());
    if (item.value().is_structured()) collect_keys(item.value(), keys);
  }
}

// Whoever has an installed okapi has that header, and nothing else that says them.
TEST(TrainerConfigTest, ThePublicHeaderHasEveryKey) {
  Json json = smallest();
  json["lora"] = {{"rank", 4}};
  json["init"] = {{"random", {{"deviation", 0.1}}}};
  json["parameters"] = {{"groups", {{{"match", "norm"}, {"weight_decay", 0.0}}}}};
  std::set<std::string> keys = {"epochs", "tokens", "from", "at"};
  collect_keys(TrainerConfig::from_json(json).json(), keys);
  EXPECT_GT(keys.size(), 50U);

  const std::string header =
      read_file(OKAPI_SOURCE_DIR "/capi/include/okapi/trainer.h", size_t{1} << 20);
  const std::string schema = header.substr(0, header.find("#ifndef"));
  for (const std::string& key : keys) {
    EXPECT_TRUE(schema.find("\"" + key + "\"") != std::string::npos ||
                schema.find(" " + key + " ") != std::string::npos ||
                schema.find("`" + key + "`") != std::string::npos)
        << key;
  }
}

TEST(TrainerConfigTest, EachValueIsChecked) {
  const std::vector<std::pair<Json, std::string>> cases = {
      {with({"model"}, nullptr), "model: wanted a string"},
      {with({"steps"}, 0), "steps: wanted"},
      {with({"epochs"}, 1), "wanted either steps or epochs, found both"},
      {with({"batch", "tokens"}, 4096), "wanted either sequences or tokens, found both"},
      {with({"batch", "sequences"}, 0), "batch.sequences"},
      {with({"optimizer", "beta1"}, 1.0), "optimizer.beta1"},
      {with({"schedule", "kind"}, "cosin"), "wanted one of constant, linear, cosine"},
      {with({"recompute"}, "yes"), "recompute: wanted true, false or \"auto\""},
      {with({"init"}, "zeros"), "init: wanted"},
      {with({"init"}, {{"random", {{"deviation", -1}}}}), "init.random.deviation"},
      {with({"lora", "targets"}, {"q_proj", "w_proj"}), "lora.targets: wanted some of q_proj"},
      {with({"lora", "targets"}, {"q_proj", "q_proj"}), "\"q_proj\" is there twice"},
      {with({"lora"}, {{"from", "a"}, {"rank", 4}}), "the adapter of `from` says it"},
      {with({"lora", "dropout"}, 1.0), "lora.dropout"},
      {with({"base_dtype"}, "int8"), "base_dtype: wanted one of auto, f32, bf16"},
      {with({"compute_dtype"}, "f16"), "compute_dtype: wanted one of auto, f32, bf16"},
      {with({"deterministic"}, "no"), "deterministic: wanted"},
      {with({"checkpoint", "every"}, 5), "checkpoint.every: there is no folder"},
      {with({"rope", "schedule"},
            {{{"scheme", "linear"}, {"parameter", "scale"}, {"at", {{5, 1}, {5, 2}}}}}),
       "with ascending steps"},
      {with({"rope", "schedule"},
            {{{"scheme", "linear"}, {"parameter", "scale"}, {"at", {{5, 1}}}, {"by", 1}}}),
       "rope.schedule[0].by: contradicts at beside it"},
      {with({"parameters", "groups"}, {{{"weight_decay", 0}}}),
       "parameters.groups[0].match: wanted names of parameters"},
  };
  for (const auto& [json, wanted] : cases) EXPECT_THAT(message_of(json), HasSubstr(wanted)) << json;
}

TEST(TrainerConfigTest, IdentityForgetsWhatChangesNoNumber) {
  const Json mine = TrainerConfig::from_json(smallest()).identity();
  for (const Json& other : {with({"recompute"}, true), with({"steps"}, 20),
                            with({"results"}, "curves.db"), with({"checkpoint", "folder"}, "out"),
                            with({"batch", "micro"}, 2), with({"model"}, "elsewhere")}) {
    EXPECT_EQ(TrainerConfig::from_json(other).identity(), mine) << other;
  }
  for (const Json& other : {with({"seed"}, 1), with({"optimizer", "learning_rate"}, 2e-3),
                            with({"batch", "sequences"}, 2), with({"rope", "train"}, "linear"),
                            with({"parameters", "train"}, "norm")}) {
    EXPECT_NE(TrainerConfig::from_json(other).identity(), mine) << other;
  }
  // A schedule that falls depends on the number of steps.
  Json falling = with({"schedule", "kind"}, "linear");
  const Json of_ten = TrainerConfig::from_json(falling).identity();
  falling["steps"] = 20;
  EXPECT_NE(TrainerConfig::from_json(falling).identity(), of_ten);
}

}  // namespace
}  // namespace okapi::test
