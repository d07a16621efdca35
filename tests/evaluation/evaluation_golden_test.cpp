// The whole way, prompts given as JSON to a report: the same tokens as transformers, the same
// accuracies as tests/data/golden states. Every third prompt; where the length follows, all up to
// one and a half of the trained length, since one prompt's length is felt by those after it.
// tests/golden has the sessions under all settings.
#include <string>

#include <gtest/gtest.h>

#include "runtime/base/json.h"
#include "tests/evaluation/savanna_lines.h"

namespace okapi::test {
namespace {

constexpr double kClearGap = 1e-3;  // a smaller distance may turn with the order of a sum

Json golden(const std::string& file) {
  return parse_json_file(OKAPI_TEST_DATA "/golden/lines/" + file, "test");
}

struct Setting {
  const char* name;  // in answers.base.json
  const char* rope;
  int64_t longest;
  bool follow = false;
};

class EvaluationGolden : public testing::TestWithParam<Setting> {};

TEST_P(EvaluationGolden, ReportEqualsTransformers) {
  const Setting setting = GetParam();
  const Json prompts = golden("prompts.json");
  const Json rows = golden("answers.base.json")[setting.name]["rows"];
  Json asked = Json::array();
  std::vector<Json> expected;
  for (size_t i = 0; i < prompts.size(); i += setting.follow ? 1 : 3) {
    if (prompts[i]["length"].get<int64_t>() > setting.longest) continue;
    asked.push_back(prompts[i]);
    expected.push_back(rows[i]);
  }
  EvaluationOptions options;
  options.rope = savanna()->parse_rope(setting.rope);
  if (setting.follow) options.rope_length = kRopeLengthFollow;
  const auto evaluation = Evaluation::create(savanna_prompts(asked), savanna(), options);
  evaluation->run({});

  const auto report = evaluation->report();
  ASSERT_EQ(report["samples"].size(), expected.size());
  int64_t n_correct = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto& sample = report["samples"][i];
    n_correct += expected[i]["correct"].get<bool>() ? 1 : 0;
    if (expected[i]["min_gap"].get<double>() <= kClearGap) continue;
    EXPECT_EQ(Json(sample["output_ids"]), expected[i]["output_ids"]) << i;
    EXPECT_EQ(Json(sample["output"]), expected[i]["output"]) << i;
    EXPECT_EQ(Json(sample["parsed"]), expected[i]["parsed"]) << i;
    EXPECT_EQ(Json(sample["correct"]), expected[i]["correct"]) << i;
  }
  EXPECT_DOUBLE_EQ(report["metrics"][0]["value"].get<double>(),
                   static_cast<double>(n_correct) / static_cast<double>(expected.size()));
}

INSTANTIATE_TEST_SUITE_P(All, EvaluationGolden,
                         testing::Values(Setting{"default", "plain", 2000},
                                         Setting{"yarn4", "yarn:scale=4", 2000},
                                         Setting{"dynamic4", "dynamic_ntk:scale=4", 768, true}),
                         [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace okapi::test
