// Learning rate, rope parameters, parameter filters and the guard against divergence, by
// themselves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "runtime/training/divergence.h"
#include "runtime/training/learning_rate.h"
#include "runtime/training/parameter_filter.h"
#include "runtime/training/rope_schedule.h"
#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

TEST(LearningRateTest, WarmsUpInEqualSteps) {
  const ScheduleConfig schedule{ScheduleKind::constant, 4, 0};
  for (int64_t step = 0; step < 4; ++step) {
    EXPECT_DOUBLE_EQ(learning_rate_factor(schedule, step, 10), static_cast<double>(step + 1) / 4);
  }
  EXPECT_EQ(learning_rate_factor(schedule, 4, 10), 1);
  EXPECT_EQ(learning_rate_factor(schedule, 9, 10), 1);
}

// As transformers' get_linear_schedule_with_warmup after the warm-up: (n - step) / (n - warmup).
TEST(LearningRateTest, LinearFallsToTheFloor) {
  EXPECT_DOUBLE_EQ(learning_rate_factor({ScheduleKind::linear, 2, 0}, 2, 12), 1);
  EXPECT_DOUBLE_EQ(learning_rate_factor({ScheduleKind::linear, 2, 0}, 7, 12), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_factor({ScheduleKind::linear, 2, 0}, 11, 12), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_factor({ScheduleKind::linear, 2, 0.2}, 12, 12), 0.2);
}

TEST(LearningRateTest, CosineIsHalfAWave) {
  for (int64_t step = 0; step <= 8; ++step) {
    const double wave = 0.5 * (1 + std::cos(std::numbers::pi * static_cast<double>(step) / 8));
    EXPECT_NEAR(learning_rate_factor({ScheduleKind::cosine, 0, 0.1}, step, 8), 0.1 + 0.9 * wave,
                1e-15);
  }
}

// The original's morph: from 8192 by 8 a step to 128, reached after 1008 steps.
TEST(RopeScheduleTest, MovesAsXposDidInTheOriginal) {
  const RopeScheduleConfig morph{"xpos", "scale_base", 8192, 128, 8, 1, {}};
  EXPECT_EQ(scheduled_value(morph, 0, 0), 8192);
  EXPECT_EQ(scheduled_value(morph, 1, 0), 8184);
  EXPECT_EQ(scheduled_value(morph, 1007, 0), 136);
  EXPECT_EQ(scheduled_value(morph, 1008, 0), 128);
  EXPECT_EQ(scheduled_value(morph, 5000, 0), 128);
  EXPECT_EQ(rope_at_step("xpos:gamma=0.4", {morph}, 3), "xpos:gamma=0.4,scale_base=8168");
}

TEST(RopeScheduleTest, MovesUpwardsEverySoManySteps) {
  const RopeScheduleConfig rising{"linear", "scale", 1, 4, 0.5, 10, {}};
  EXPECT_EQ(scheduled_value(rising, 9, 0), 1);
  EXPECT_EQ(scheduled_value(rising, 10, 0), 1.5);
  EXPECT_EQ(scheduled_value(rising, 1000, 0), 4);

  const RopeScheduleConfig by_tenths{"linear", "scale", 1.1, 2, 0.1, 1, {}};
  EXPECT_EQ(scheduled_value(by_tenths, 6, 0), 1.7);
  EXPECT_EQ(rope_at_step("linear", {by_tenths}, 6), "linear:scale=1.7");
}

TEST(RopeScheduleTest, CurriculumHoldsFromEachStepOn) {
  const RopeScheduleConfig curriculum{"linear", "scale", 0, 0, 0, 1, {{5, 2.0}, {9, 4.0}}};
  const std::string spec = "linear:scale=1 | truncated:length=2048";
  EXPECT_EQ(rope_at_step(spec, {curriculum}, 4), spec);
  EXPECT_EQ(rope_at_step(spec, {curriculum}, 5), "linear:scale=2 | truncated:length=2048");
  EXPECT_EQ(rope_at_step(spec, {curriculum}, 8), "linear:scale=2 | truncated:length=2048");
  EXPECT_EQ(rope_at_step(spec, {curriculum}, 9), "linear:scale=4 | truncated:length=2048");
}

TEST(RopeScheduleTest, ASchemeThatIsNotThereIsNamed) {
  const RopeScheduleConfig entry{"yarn", "scale", 1, 2, 1, 1, {}};
  const Error error = error_of([&] { static_cast<void>(rope_at_step("linear", {entry}, 0)); });
  EXPECT_EQ(error.code(), Code::invalid_argument);
  EXPECT_THAT(error.message(), testing::HasSubstr("has no scheme yarn"));
}

TEST(ParameterFilterTest, PatternsHaveStarsAndQuestionMarks) {
  const std::string name = "model.layers.12.mlp.up_proj.weight";
  for (const char* pattern : {"*", "model.*", "*.up_proj.weight", "*layers.1?.*", "*mlp*weight",
                              "model.layers.12.mlp.up_proj.weight", "**up**"}) {
    EXPECT_TRUE(matches_pattern(pattern, name)) << pattern;
  }
  for (const char* pattern : {"", "model", "*.up_proj", "*layers.?.*", "*mlp*bias", "?"}) {
    EXPECT_FALSE(matches_pattern(pattern, name)) << pattern;
  }
}

TEST(ParameterFilterTest, WordsMeanKindsOfTensors) {
  const std::string norms[] = {"model.norm.weight", "model.layers.0.input_layernorm.weight",
                               "model.layers.3.post_attention_layernorm.weight"};
  for (const std::string& name : norms) EXPECT_TRUE(selects_parameter("norm", name, false)) << name;
  EXPECT_FALSE(selects_parameter("norm", "model.embed_tokens.weight", false));
  EXPECT_TRUE(selects_parameter("embed", "model.embed_tokens.weight", false));
  EXPECT_TRUE(selects_parameter("embed", "lm_head.weight", false));
  EXPECT_TRUE(selects_parameter("all", norms[0], false));
  EXPECT_FALSE(selects_parameter("all", "x.lora_A.weight", true));
  EXPECT_TRUE(selects_parameter("lora", "x.lora_A.weight", true));
  EXPECT_FALSE(selects_parameter("lora", norms[0], false));
  EXPECT_TRUE(selects_parameter(std::vector<std::string>{"lora", "norm"}, norms[1], false));
}

TEST(DivergenceGuardTest, NoticesWhenTheMeanHasRisen) {
  DivergenceGuard guard({.nats = 1, .steps = 2});
  EXPECT_FALSE(guard.diverges(9));  // no mean yet
  EXPECT_FALSE(guard.diverges(3));  // 6
  EXPECT_FALSE(guard.diverges(1));  // 2, the lowest
  EXPECT_FALSE(guard.diverges(4));  // 2.5: one bad step is none
  EXPECT_TRUE(guard.diverges(4));   // 4
}

TEST(DivergenceGuardTest, RestoredItGoesOn) {
  DivergenceGuard guard({.nats = 1, .steps = 3});
  for (const double loss : {3.0, 2.0, 1.0, 2.5}) EXPECT_FALSE(guard.diverges(loss));
  DivergenceGuard other({.nats = 1, .steps = 3});
  other.restore(Json::parse(guard.state().dump()), {"test", ""});
  for (const double loss : {2.9, 3.0, 4.0, 1.0}) {
    EXPECT_EQ(guard.diverges(loss), other.diverges(loss));
    EXPECT_EQ(guard.mean(), other.mean());
  }
}

}  // namespace
}  // namespace okapi::test
