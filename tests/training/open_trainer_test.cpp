// From a configuration alone to steps: the shipped savanna model on lines documents.
#include "runtime/training/open_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "tests/support/engine.h"
#include "tests/support/plugin_harness.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

Json savanna_run() {
  return Json::parse(R"({
    "model": "", "seed": 3, "steps": 2,
    "rope": {"train": "plain"},
    "optimizer": {"learning_rate": 1e-5},
    "batch": {"sequences": 2},
    "data": {"dataset": "lines",
             "params": {"training": true, "style": "compact", "length": 300, "min_length": 200},
             "length": 300, "holdout": 4}
  })");
}

Json savanna() {
  Json run = savanna_run();
  run["model"] = OKAPI_SOURCE_DIR "/models/savanna-5m";
  return run;
}

// The model was trained to answer perfectly at this length, so its answers' loss is all but zero;
// and it is not where positions are stretched, which the README of the model says.
TEST(OpenTrainerTest, TheTrainedModelHasNothingToLearn) {
  Json config = savanna();
  const auto trainer = open_trainer(engine(), TrainerConfig::from_json(config));
  EXPECT_LT(trainer->evaluate().loss, 0.1);
  EXPECT_LT(trainer->step().loss, 0.1);
  EXPECT_EQ(trainer->data_position(), 2);

  config["rope"]["train"] = "linear:scale=2";
  const auto stretched = open_trainer(engine(), TrainerConfig::from_json(config));
  EXPECT_GT(stretched->evaluate().loss, 1.0);
}

TEST(OpenTrainerTest, PrefetchingChangesNothing) {
  const TrainerConfig config = TrainerConfig::from_json(savanna());
  const auto ahead = open_trainer(engine(), config);
  const auto plain = open_trainer(engine(), config, {.prefetch = false});
  for (int i = 0; i < 2; ++i) EXPECT_EQ(ahead->step().loss, plain->step().loss);
}

TEST(OpenTrainerTest, WithoutDataThereIsNothingToTrainOn) {
  Json config = savanna();
  config.erase("data");
  EXPECT_THAT(error_of([&] { open_trainer(engine(), TrainerConfig::from_json(config)); }).message(),
              HasSubstr("nothing to train on"));
  config = savanna();
  const TemporaryFolder folder;
  folder.write("config.json", small_config());
  config["model"] = folder.path().string();
  config["init"] = "random";
  EXPECT_EQ(error_of([&] { open_trainer(engine(), TrainerConfig::from_json(config)); }).code(),
            Code::not_found);
}

// By its whole path, so that whoever has the file finds the line.
TEST(OpenTrainerTest, MistakesInTheDataAreNamed) {
  const auto error_with = [](const char* section, const Json& change) {
    Json config = savanna();
    config["evaluation"] = {{"data", config["data"]}, {"windows", 1}};
    const Json::json_pointer place(section);
    config[place].update(change);
    return error_of([&] { open_trainer(engine(), TrainerConfig::from_json(config)); });
  };
  EXPECT_EQ(error_with("/data", {{"lenght", 3}}).field_name(), "data.lenght");
  EXPECT_EQ(error_with("/data", {{"length", nullptr}}).field_name(), "data.length");
  EXPECT_EQ(error_with("/data", {{"holdout", 0.5}}).field_name(), "data.holdout");
  EXPECT_EQ(error_with("/evaluation/data", {{"length", "1k"}}).field_name(),
            "evaluation.data.length");
}

TEST(OpenTrainerTest, AModelThatIsNotThereIsNamedAsSuch) {
  Json config = savanna();
  config["model"] = "no/such/model";
  const Error error = error_of([&] { open_trainer(engine(), TrainerConfig::from_json(config)); });
  EXPECT_EQ(error.code(), Code::not_found);
  EXPECT_THAT(error.message(), HasSubstr("no such folder"));
}

}  // namespace
}  // namespace okapi::test
