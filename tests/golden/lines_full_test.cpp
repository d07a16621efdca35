// golden/lines in full: every prompt, every setting, both models, and the accuracies they make.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "tests/golden/golden_files.h"
#include "tests/golden/lines_check.h"
#include "tests/support/engine.h"

namespace okapi::test {
namespace {

void expect_all_lines(const std::filesystem::path& folder, const std::string& answers_file) {
  const auto model = Model::load(engine(), folder, computed_in_f32());
  const Json settings = golden_json(answers_file);
  for (const auto& [name, answers] : settings.items()) {
    const bool by_length_seen = answers.at("rope").at("rope_type") == "dynamic";
    const LinesResult result =
        check_lines(model, answers, lines_spec(answers.at("rope")), by_length_seen, 2000, 1);
    EXPECT_EQ(result.n_different, 0) << name << ": " << result.first_difference;

    int n_correct = 0;
    for (const Json& row : answers.at("rows")) n_correct += row.at("correct").get<bool>() ? 1 : 0;
    EXPECT_EQ(result.n_correct, n_correct) << name;
    testing::Test::RecordProperty(name + "_checked", result.n_checked);
    std::printf("%s: %d of %d prompts have a clear gap, %d differ; %d correct, as expected %d\n",
                name.c_str(), result.n_checked, result.n_prompts, result.n_different,
                result.n_correct, n_correct);
  }
}

TEST(LinesFull, BaseModel) {
  expect_all_lines(OKAPI_SOURCE_DIR "/models/savanna-5m", "lines/answers.base.json");
}

// bf16 rounds away what decides between close tokens, not what the model has learned: each cell of
// the table of accuracies may move by two samples.
TEST(LinesFull, Bf16KeepsTheAccuracies) {
  if (engine()->backend()->activation_dtype_beside(DType::bf16) != DType::bf16) {
    GTEST_SKIP() << "the backend computes in f32 beside bf16 weights";
  }
  const auto model = Model::load(engine(), OKAPI_SOURCE_DIR "/models/savanna-5m");
  const Json settings = golden_json("lines/answers.base.json");
  for (const auto& [name, answers] : settings.items()) {
    const bool by_length_seen = answers.at("rope").at("rope_type") == "dynamic";
    const LinesResult result =
        check_lines(model, answers, lines_spec(answers.at("rope")), by_length_seen, 2000, 1);
    for (const auto& [length, more] : result.more_correct) {
      EXPECT_LE(std::abs(more), 2) << name << " at " << length;
      std::printf("bf16 %s at %d: %+d\n", name.c_str(), static_cast<int>(length), more);
    }
  }
}

// Kept beside the project, not in it: 10.7 MB more for one setting.
TEST(LinesFull, ModelTunedWithLinear4) {
  const std::filesystem::path folder = OKAPI_SOURCE_DIR "/../shared/models/savanna-5m-linear4";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  expect_all_lines(folder, "lines/answers.scale4.json");
}

}  // namespace
}  // namespace okapi::test
