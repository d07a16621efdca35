// The trained model kept in the project answers lines questions as transformers did: a part of the
// prompts, quick enough for every run. lines_full_test takes them all.
#include <gtest/gtest.h>

#include "tests/golden/golden_files.h"
#include "tests/golden/lines_check.h"
#include "tests/support/engine.h"

namespace okapi::test {
namespace {

class Lines : public testing::TestWithParam<std::string> {};

TEST_P(Lines, GreedyTokensAreThoseOfTransformers) {
  static const auto kModel =
      Model::load(engine(), OKAPI_SOURCE_DIR "/models/savanna-5m", computed_in_f32());
  const Json answers = golden_json("lines/answers.base.json").at(GetParam());
  const bool by_length_seen = answers.at("rope").at("rope_type") == "dynamic";
  // Where the length grows each token costs a pass over the whole prompt.
  const int64_t longest = by_length_seen ? 768 : 2000;
  const size_t stride = by_length_seen ? 12 : 8;
  const LinesResult result =
      check_lines(kModel, answers, lines_spec(answers.at("rope")), by_length_seen, longest, stride);
  EXPECT_GE(result.n_checked, 5);
  EXPECT_EQ(result.n_different, 0) << result.first_difference;
}

INSTANTIATE_TEST_SUITE_P(All, Lines,
                         testing::Values("default", "linear2", "linear4", "dynamic4", "yarn4"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace okapi::test
