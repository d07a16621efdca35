// Checkpoints: what they hold, how a run goes on from them, and what damage does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "runtime/base/error.h"
#include "runtime/model/adapter.h"
#include "runtime/model/checkpoint.h"
#include "runtime/results/results.h"
#include "tests/support/plugin_harness.h"
#include "tests/support/temporary_folder.h"
#include "tests/training/windows.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

class CheckpointTest : public testing::Test {
 protected:
  Json run(int64_t steps = 6) {
    Json config = small_run(write_small_config(folder_.path() / "model"), steps);
    config["checkpoint"] = {{"folder", (folder_.path() / "out").string()}, {"every", 2}};
    return config;
  }
  std::shared_ptr<const WindowSource> windows() {
    return std::make_shared<DrawnWindows>(20, 33, 96, 7);
  }
  std::filesystem::path out(int64_t step) {
    return folder_.path() / "out" / ("step-0000000" + std::to_string(step));
  }

  TemporaryFolder folder_;
};

std::vector<double> losses_of(Trainer& trainer) {
  std::vector<double> losses;
  trainer.set_listener({.on_step = [&](const TrainingStep& step) { losses.push_back(step.loss); }});
  trainer.run();
  trainer.set_listener({});
  return losses;
}

std::vector<std::vector<float>> values_of(const Trainer& trainer) {
  std::vector<std::vector<float>> values;
  for (Trainer::NamedValues& named : trainer.values()) values.push_back(std::move(named.values));
  return values;
}

/// Runs to the end without a break; then from the checkpoint of step 4 on: the same bytes.
void expect_same_when_resumed(Json config, const std::shared_ptr<const WindowSource>& windows) {
  const TemporaryFolder elsewhere;
  Json whole = config;
  whole["checkpoint"]["folder"] = (elsewhere.path() / "whole").string();
  const auto uninterrupted = make_trainer(whole, windows, windows);
  const std::vector<double> losses = losses_of(*uninterrupted);
  ASSERT_EQ(losses.size(), 6U);

  {
    const auto first = make_trainer(config, windows, windows);
    first->run(4);
  }
  const auto second = make_trainer(config, windows, windows, /*resume=*/true);
  EXPECT_EQ(second->steps_done(), 4);
  EXPECT_EQ(losses_of(*second), std::vector<double>(losses.begin() + 4, losses.end()));
  EXPECT_EQ(values_of(*second), values_of(*uninterrupted));
}

TEST_F(CheckpointTest, FullTrainingResumesToTheBit) { expect_same_when_resumed(run(), windows()); }

TEST_F(CheckpointTest, AdaptersResumeToTheBit) {
  Json config = run();
  config["lora"] = {{"rank", 3}, {"dropout", 0.3}};
  expect_same_when_resumed(config, windows());
}

TEST_F(CheckpointTest, AdaptersBesideTrainedNormsResumeToTheBit) {
  Json config = run();
  config["lora"] = {{"rank", 2}, {"targets", {"q_proj", "down_proj"}}};
  config["parameters"] = {{"train", {"lora", "norm"}}};
  expect_same_when_resumed(config, windows());
}

TEST_F(CheckpointTest, Bf16FilesKeepTheMastersBeside) {
  Json config = run();
  config["checkpoint"]["dtype"] = "bf16";
  expect_same_when_resumed(config, windows());
  EXPECT_EQ(Checkpoint::open(out(6)).tensor("model.norm.weight").dtype, DType::bf16);
}

TEST_F(CheckpointTest, DrawnPositionsAndSchedulesResumeToTheBit) {
  Json config = run();
  config["rope"] = {{"train", "randomized | xpos"},
                    {"eval", "plain"},
                    {"schedule",
                     {{{"scheme", "xpos"},
                       {"parameter", "scale_base"},
                       {"from", 512},
                       {"to", 128},
                       {"by", 64}}}}};
  config["schedule"] = {{"kind", "cosine"}, {"warmup", 2}};
  config["batch"]["micro"] = 2;
  expect_same_when_resumed(config, windows());
}

TEST_F(CheckpointTest, IsAModelFolderThatLoads) {
  Json config = run(2);
  config["rope"] = {{"train", "power:exponent=0.5"}};
  const auto trainer = make_trainer(config, windows());
  trainer->run();
  const auto model = Model::load(engine(), out(2));
  EXPECT_THAT(model->rope()->canonical(), HasSubstr("power:exponent=0.5"));
  const Json written = parse_json_file(out(2) / "config.json", "test");
  // transformers must refuse what it would misread.
  EXPECT_EQ(written["rope_parameters"]["rope_type"], "okapi");
  EXPECT_EQ(written["torch_dtype"], "float32");
}

TEST_F(CheckpointTest, AnAdapterIsAPeftFolder) {
  Json config = run(2);
  config["lora"] = {{"rank", 3}, {"targets", {"q_proj", "up_proj"}}};
  make_trainer(config, windows())->run();
  EXPECT_FALSE(std::filesystem::exists(out(2) / "model.safetensors"));
  const Adapter adapter = Adapter::load(out(2), read_model_config(folder_.path() / "model"));
  EXPECT_EQ(adapter.shape().rank, 3);
  EXPECT_EQ(adapter.modules().size(), 3U * 2U);
}

TEST_F(CheckpointTest, KeepsTheNewestAndTheBest) {
  Json config = run(5);
  config["checkpoint"].update({{"every", 1}, {"keep", 2}});
  config["evaluation"] = {{"every", 1}, {"windows", 2}};
  config["optimizer"]["learning_rate"] = 0.2;  // far too much: the first evaluation is the best
  config["divergence"] = {{"nats", 0}};
  const auto trainer = make_trainer(config, windows(), windows());
  std::vector<double> evaluations;
  trainer->set_listener({.on_evaluation = [&](const TrainingEvaluation& evaluation) {
    evaluations.push_back(evaluation.loss);
  }});
  trainer->run();
  const auto best = std::min_element(evaluations.begin(), evaluations.end());
  const int64_t best_step = best - evaluations.begin() + 1;
  for (int64_t step = 1; step <= 5; ++step) {
    EXPECT_EQ(std::filesystem::exists(out(step)), step >= 4 || step == best_step) << step;
  }
}

TEST_F(CheckpointTest, AFolderWithCheckpointsIsNotOverwritten) {
  make_trainer(run(), windows())->run(2);
  const Error error = error_of([&] { make_trainer(run(), windows()); });
  EXPECT_EQ(error.code(), Code::already_exists);
  EXPECT_THAT(error.message(), HasSubstr("resume them"));
}

TEST_F(CheckpointTest, TwoTrainersDoNotShareAFolder) {
  const auto first = make_trainer(run(), windows());
  EXPECT_EQ(error_of([&] { make_trainer(run(), windows()); }).code(), Code::unavailable);
}

TEST_F(CheckpointTest, WithNothingToResumeItStarts) {
  EXPECT_EQ(make_trainer(run(), windows(), nullptr, true)->steps_done(), 0);
  Json config = run();
  config.erase("checkpoint");
  EXPECT_THAT(error_of([&] { make_trainer(config, windows(), nullptr, true); }).message(),
              HasSubstr("no folder to resume from"));
}

void damage(const std::filesystem::path& file) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(-5, std::ios::end);
  const char byte = static_cast<char>(stream.get());
  stream.seekp(-5, std::ios::end);
  stream.put(static_cast<char>(byte ^ 1));
}

TEST_F(CheckpointTest, DamageFallsBackToThePreviousOne) {
  for (const char* name :
       {"model.safetensors", "okapi_optimizer.safetensors", "okapi_training.json", "config.json"}) {
    std::filesystem::remove_all(folder_.path() / "out");
    make_trainer(run(), windows())->run(4);
    if (std::string(name) == "okapi_training.json") {
      std::filesystem::resize_file(out(4) / name, 100);
    } else {
      damage(out(4) / name);
    }
    EXPECT_EQ(make_trainer(run(), windows(), nullptr, true)->steps_done(), 2) << name;
  }
}

TEST_F(CheckpointTest, AMissingFileFallsBack) {
  make_trainer(run(), windows())->run(4);
  std::filesystem::remove(out(4) / "okapi_optimizer.safetensors");
  EXPECT_EQ(make_trainer(run(), windows(), nullptr, true)->steps_done(), 2);
  std::filesystem::remove(out(2) / "okapi_training.json");
  const Error error = error_of([&] { make_trainer(run(), windows(), nullptr, true); });
  EXPECT_EQ(error.code(), Code::data_loss);
  EXPECT_THAT(error.message(), HasSubstr("none of the 2 checkpoints is whole"));
}

TEST_F(CheckpointTest, AnotherConfigurationIsRefusedByItsKey) {
  make_trainer(run(), windows())->run(2);
  Json other = run();
  other["optimizer"]["beta2"] = 0.5;
  const Error error = error_of([&] { make_trainer(other, windows(), nullptr, true); });
  EXPECT_EQ(error.code(), Code::failed_precondition);
  EXPECT_THAT(error.message(),
              HasSubstr("optimizer.beta2: the checkpoint was made with 0.99, this run has 0.5"));
  const auto data = std::make_shared<DrawnWindows>(20, 33, 96, 8);
  EXPECT_THAT(error_of([&] { make_trainer(run(), data, nullptr, true); }).message(),
              HasSubstr("data.drawn"));
}

/// Windows of a dataset plugin of that version in that file.
class PluginWindows final : public WindowSource {
 public:
  PluginWindows(std::shared_ptr<const WindowSource> windows, std::string version, std::string file)
      : windows_(std::move(windows)), version_(std::move(version)), file_(std::move(file)) {}
  int64_t count() const override { return windows_->count(); }
  TokenWindow window(int64_t index) const override { return windows_->window(index); }
  int64_t max_tokens() const override { return windows_->max_tokens(); }
  Json describe() const override {
    const Json plugin = {
        {"id", "lines"}, {"version", version_}, {"file", file_}, {"sha256", "of " + file_}};
    return {{"parts", {{{"dataset", {{"plugin", plugin}, {"seed", 1}}}}}}};
  }

 private:
  std::shared_ptr<const WindowSource> windows_;
  std::string version_;
  std::string file_;
};

TEST_F(CheckpointTest, AMovedPluginResumesAndAnotherVersionDoesNot) {
  const auto from = [&](const char* version, const char* file) {
    return std::make_shared<PluginWindows>(windows(), version, file);
  };
  make_trainer(run(), from("0.1", "here/lines.so"))->run(2);
  EXPECT_EQ(make_trainer(run(), from("0.1", "there/lines.so"), nullptr, true)->steps_done(), 2);
  const Error error =
      error_of([&] { make_trainer(run(), from("0.2", "here/lines.so"), nullptr, true); });
  EXPECT_EQ(error.code(), Code::failed_precondition);
  EXPECT_THAT(error.message(), HasSubstr("0.1"));
  EXPECT_THAT(error.message(), HasSubstr("0.2"));
}

TEST_F(CheckpointTest, MoreStepsMayBeAskedFor) {
  make_trainer(run(4), windows())->run();
  const auto longer = make_trainer(run(6), windows(), nullptr, true);
  EXPECT_EQ(longer->steps_done(), 4);
  longer->run();
  EXPECT_EQ(longer->steps_done(), 6);
}

TEST_F(CheckpointTest, CancelSaves) {
  Json config = run(6);
  config["checkpoint"]["every"] = 0;
  const auto trainer = make_trainer(config, windows());
  const auto cancel = std::make_shared<CancelToken>();
  trainer->set_cancel(cancel);
  trainer->set_listener({.on_step = [&](const TrainingStep& step) {
    if (step.step == 3) cancel->request();
  }});
  EXPECT_EQ(error_of([&] { trainer->run(); }).code(), Code::cancelled);
  EXPECT_TRUE(std::filesystem::exists(out(3)));
}

TEST_F(CheckpointTest, WhatAKilledRunHasLeftIsSweptUp) {
  const std::filesystem::path folder = folder_.path() / "out";
  std::filesystem::create_directories(folder / ".partial-step-00000004");
  std::ofstream(folder / ".partial-step-00000004" / "model.safetensors") << "half";
  const auto trainer = make_trainer(run(), windows(), nullptr, true);
  EXPECT_EQ(trainer->steps_done(), 0);
  EXPECT_FALSE(std::filesystem::exists(folder / ".partial-step-00000004"));
}

TEST_F(CheckpointTest, CurvesGoIntoTheResults) {
  const std::filesystem::path file = folder_.path() / "curves.db";
  Json config = run();
  config["results"] = file.string();
  config["evaluation"] = {{"every", 3}, {"windows", 2}, {"bucket", 16}};
  std::vector<double> losses;
  {
    const auto trainer = make_trainer(config, windows(), windows());
    trainer->set_listener(
        {.on_step = [&](const TrainingStep& step) { losses.push_back(step.loss); }});
    trainer->run(5);
  }
  // Goes on from step 5, where it was saved; the curve has every step once.
  const auto again = make_trainer(config, windows(), windows(), true);
  again->set_listener({.on_step = [&](const TrainingStep& step) { losses.push_back(step.loss); }});
  again->run();

  const Json runs = Results::open(file, {.read_only = true})->training();
  ASSERT_EQ(runs.size(), 1U);
  const Json& steps = runs[0]["steps"];
  ASSERT_EQ(steps.size(), 6U);
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(steps[i]["step"], i + 1);
    EXPECT_EQ(steps[i]["loss"], losses[i]);
  }
  std::vector<int64_t> evaluated;
  for (const Json& evaluation : runs[0]["evaluations"]) {
    evaluated.push_back(evaluation["step"]);
    EXPECT_EQ(evaluation["buckets"][0]["first_position"], 0);
    EXPECT_EQ(evaluation["buckets"][0]["last_position"], 15);
  }
  EXPECT_EQ(evaluated, (std::vector<int64_t>{3, 5, 6}));
}

}  // namespace
}  // namespace okapi::test
