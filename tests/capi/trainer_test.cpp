#include <okapi/trainer.h>

#include <functional>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

constexpr int64_t kSteps = 3;

struct Heard {
  std::vector<int32_t> kinds;
  std::vector<okapi::Json> metrics;
  okapi_cancel* cancel_at_first = nullptr;
};

void hear(int32_t kind, const char* json, void* user_data) {
  auto* heard = static_cast<Heard*>(user_data);
  heard->kinds.push_back(kind);
  heard->metrics.push_back(okapi::Json::parse(json));
  if (heard->cancel_at_first != nullptr) okapi_cancel_request(heard->cancel_at_first);
}

class TrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(folder_.path() / "model");
    write_model(folder_.path() / "model");
  }

  okapi::Json config() const {
    return {{"model", (folder_.path() / "model").string()},
            {"steps", kSteps},
            {"optimizer", {{"learning_rate", 1e-3}}},
            {"batch", {{"sequences", 2}}},
            {"checkpoint", {{"folder", (folder_.path() / "run").string()}}},
            {"data",
             {{"dataset", "lines"},
              {"params", {{"training", true}, {"style", "compact"}, {"length", 120}}},
              {"length", 120},
              {"holdout", 2}}}};
  }

  Outcome open(const okapi::Json& config, TrainerPtr* trainer, uint8_t resume = 0) {
    okapi_trainer_options options = OKAPI_TRAINER_OPTIONS_INIT;
    options.resume = resume;
    okapi_trainer* made = nullptr;
    Outcome outcome = call([&](okapi_error** error) {
      return okapi_trainer_open(runtime_.get(), config.dump().c_str(), &options, &made, error);
    });
    trainer->reset(made);
    return outcome;
  }

  static Outcome run(const TrainerPtr& trainer, int64_t until, Heard* heard,
                     okapi_cancel* cancel = nullptr) {
    okapi_train_options options = OKAPI_TRAIN_OPTIONS_INIT;
    options.metrics = hear;
    options.metrics_user_data = heard;
    options.cancel = cancel;
    return call([&](okapi_error** error) {
      return okapi_trainer_run(trainer.get(), until, &options, error);
    });
  }

  static okapi::Json metrics(const TrainerPtr& trainer) {
    return json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
      return okapi_trainer_metrics(trainer.get(), buffer, capacity, needed, error);
    });
  }

  TemporaryFolder folder_;
  RuntimePtr runtime_ = make_runtime();
};

}  // namespace

TEST_F(TrainerTest, RunsTellsAndExports) {
  TrainerPtr trainer;
  const Outcome opened = open(config(), &trainer);
  ASSERT_EQ(opened.status, OKAPI_OK) << opened.message();
  EXPECT_EQ(metrics(trainer), okapi::Json::object());

  const std::string out = (folder_.path() / "out").string();
  const auto check = [&](uint8_t merged) {
    return call([&](okapi_error** error) {
      return okapi_trainer_check_export(trainer.get(), out.c_str(), merged, error);
    });
  };
  EXPECT_EQ(check(0).status, OKAPI_OK);
  EXPECT_EQ(check(1).status, OKAPI_INVALID_ARGUMENT);  // there is no adapter
  EXPECT_EQ(check(2).status, OKAPI_INVALID_ARGUMENT);

  Heard heard;
  EXPECT_EQ(run(trainer, -1, &heard).status, OKAPI_OK);
  EXPECT_EQ(heard.kinds, (std::vector<int32_t>{OKAPI_METRICS_STEP, OKAPI_METRICS_STEP,
                                               OKAPI_METRICS_STEP, OKAPI_METRICS_CHECKPOINT}));
  EXPECT_EQ(heard.metrics[2], metrics(trainer)["step"]);
  EXPECT_EQ(heard.metrics[2]["step"], kSteps);
  EXPECT_GT(heard.metrics[0]["loss"], 0.0);
  EXPECT_TRUE(std::filesystem::exists(metrics(trainer)["checkpoint"]["path"].get<std::string>()));

  EXPECT_EQ(
      call([&](okapi_error** error) { return okapi_trainer_step(trainer.get(), error); }).status,
      OKAPI_OUT_OF_RANGE);
  EXPECT_EQ(call([&](okapi_error** error) {
              return okapi_trainer_evaluate(trainer.get(), error);
            }).status,
            OKAPI_OK);
  EXPECT_GT(metrics(trainer)["evaluation"]["loss"], 0.0);

  EXPECT_EQ(call([&](okapi_error** error) {
              return okapi_trainer_export(trainer.get(), out.c_str(), 0, error);
            }).status,
            OKAPI_OK);
  EXPECT_NE(open_model(runtime_.get(), out), nullptr);
}

TEST_F(TrainerTest, CancelledItSavesAndResumes) {
  TrainerPtr trainer;
  ASSERT_EQ(open(config(), &trainer).status, OKAPI_OK);
  okapi_cancel* cancel = nullptr;
  ASSERT_EQ(okapi_cancel_create(&cancel, nullptr), OKAPI_OK);
  Heard heard;
  heard.cancel_at_first = cancel;
  EXPECT_EQ(run(trainer, -1, &heard, cancel).status, OKAPI_CANCELLED);
  EXPECT_EQ(heard.kinds, (std::vector<int32_t>{OKAPI_METRICS_STEP, OKAPI_METRICS_CHECKPOINT}));
  okapi_cancel_unref(cancel);
  trainer.reset();

  EXPECT_EQ(open(config(), &trainer).status, OKAPI_ALREADY_EXISTS);
  ASSERT_EQ(open(config(), &trainer, 1).status, OKAPI_OK);
  Heard rest;
  EXPECT_EQ(run(trainer, -1, &rest).status, OKAPI_OK);
  EXPECT_EQ(rest.metrics.at(0)["step"], 2);
}

TEST_F(TrainerTest, EveryCallCanBeCancelledAndLeavesTheTrainerAsItWas) {
  TrainerPtr trainer;
  ASSERT_EQ(open(config(), &trainer).status, OKAPI_OK);
  ASSERT_EQ(okapi_trainer_step(trainer.get(), nullptr), OKAPI_OK);
  const okapi::Json before = metrics(trainer);
  okapi_cancel* cancel = nullptr;
  ASSERT_EQ(okapi_cancel_create(&cancel, nullptr), OKAPI_OK);
  ASSERT_EQ(okapi_trainer_set_cancel(trainer.get(), cancel, nullptr), OKAPI_OK);
  okapi_cancel_request(cancel);

  const std::string out = (folder_.path() / "cancelled").string();
  EXPECT_EQ(okapi_trainer_step(trainer.get(), nullptr), OKAPI_CANCELLED);
  EXPECT_EQ(okapi_trainer_evaluate(trainer.get(), nullptr), OKAPI_CANCELLED);
  EXPECT_EQ(okapi_trainer_export(trainer.get(), out.c_str(), 0, nullptr), OKAPI_CANCELLED);
  EXPECT_FALSE(std::filesystem::exists(out + "/model.safetensors"));
  Heard heard;
  EXPECT_EQ(run(trainer, -1, &heard).status, OKAPI_CANCELLED);
  EXPECT_EQ(metrics(trainer)["step"], before["step"]);
  EXPECT_EQ(metrics(trainer)["checkpoint"]["step"], 1) << "what was done is saved";

  okapi_cancel_unref(cancel);  // the trainer still holds it
  EXPECT_EQ(okapi_trainer_step(trainer.get(), nullptr), OKAPI_CANCELLED);
  ASSERT_EQ(okapi_trainer_set_cancel(trainer.get(), nullptr, nullptr), OKAPI_OK);
  EXPECT_EQ(okapi_trainer_step(trainer.get(), nullptr), OKAPI_OK);
  EXPECT_EQ(metrics(trainer)["step"]["step"], 2);
}

TEST_F(TrainerTest, WrongConfigurationsNameTheKey) {
  TrainerPtr trainer;
  okapi::Json wrong = config();
  wrong["optimizer"]["learning_rat"] = 1;
  const Outcome unknown = open(wrong, &trainer);
  EXPECT_EQ(unknown.status, OKAPI_INVALID_ARGUMENT);
  EXPECT_THAT(unknown.message(), testing::HasSubstr("learning_rat"));
  wrong = config();
  wrong["model"] = "no/such/model";
  EXPECT_EQ(open(wrong, &trainer).status, OKAPI_NOT_FOUND);
  EXPECT_EQ(call([&](okapi_error** error) {
              return okapi_trainer_open(runtime_.get(), "{", nullptr, nullptr, error);
            }).status,
            OKAPI_INVALID_ARGUMENT);
}

TEST_F(TrainerTest, APlanAllocatesNothingAndSaysWhatFits) {
  const auto plan_into = [&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
    return okapi_trainer_plan(runtime_.get(), config().dump().c_str(), buffer, capacity, needed,
                              error);
  };
  const okapi::Json plan = json_of(plan_into);
  EXPECT_EQ(plan["fits"], true);
  EXPECT_NE(plan["text"], "");

  // Free memory and the measured rate are never the same twice, yet the text that was sized is the
  // one that is copied, also after a buffer that was too small.
  size_t sized = 0;
  ASSERT_EQ(plan_into(nullptr, 0, &sized, nullptr), OKAPI_OK);
  std::string text(sized, ' ');
  size_t needed = 0;
  EXPECT_EQ(plan_into(text.data(), sized - 1, &needed, nullptr), OKAPI_OUT_OF_RANGE);
  const std::string begun = text.substr(0, sized - 2);
  EXPECT_EQ(needed, sized);
  ASSERT_EQ(plan_into(text.data(), sized, &needed, nullptr), OKAPI_OK);
  EXPECT_EQ(needed, sized);
  EXPECT_EQ(text.substr(0, sized - 2), begun);
}
