// Given prompts under a length that follows. That the answers are those of transformers is held by
// evaluation_golden_test; here what it takes to get there, and that a resumed run gets there too.
#include "runtime/evaluation/longest_input.h"

#include <gtest/gtest.h>

#include "runtime/base/json.h"
#include "tests/evaluation/savanna_lines.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {
namespace {

PreparedItem item_of(size_t n_tokens, int64_t max_new_tokens) {
  PreparedItem item;
  item.ids.resize(n_tokens);
  item.item.max_new_tokens = max_new_tokens;
  return item;
}

TEST(LongestInputTest, IsTheLongestBeforeUntilAPromptIsWithinTheTrainedLength) {
  LongestInput longest(512);
  EXPECT_EQ(longest.before(item_of(600, 8)), 0);
  EXPECT_EQ(longest.before(item_of(550, 8)), 607);  // of 8 new tokens the last one is not read
  EXPECT_EQ(longest.before(item_of(1000, 0)), 607);
  EXPECT_EQ(longest.before(item_of(512, 8)), 1000);
  EXPECT_EQ(longest.before(item_of(511, 8)), 0);
  EXPECT_EQ(longest.before(item_of(700, 1)), 518);
  EXPECT_EQ(longest.before(item_of(600, 1)), 700);
}

TEST(LongestInputTest, AResumedRunKnowsThePromptsThatWereDone) {
  const Json all = parse_json_file(OKAPI_TEST_DATA "/golden/lines/prompts.json", "test");
  Json prompts = Json::array();  // the second is read at the length of the first
  for (const Json& prompt : all) {
    if (prompt["length"] == 1024 && prompts.empty()) prompts.push_back(prompt);
  }
  for (const Json& prompt : all) {
    if (prompt["length"] == 768 && prompts.size() < 2) prompts.push_back(prompt);
  }
  const auto task = savanna_prompts(prompts);
  EvaluationOptions options;
  options.rope = savanna()->parse_rope("dynamic_ntk:scale=4");
  options.rope_length = kRopeLengthFollow;
  const auto at_once = Evaluation::create(task, savanna(), options);
  at_once->run({});

  const TemporaryFolder folder;
  options.results = Results::open(folder.path() / "r.db");
  options.max_samples = 1;
  Evaluation::create(task, savanna(), options)->run({});
  options.max_samples = 0;
  const auto resumed = Evaluation::create(task, savanna(), options);
  EXPECT_EQ(resumed->n_done(), 1);
  resumed->run({});
  EXPECT_EQ(comparable(resumed->report()), comparable(at_once->report()));

  // And that length is felt: alone, the second prompt has other logits, which show in a session.
  SessionOptions session;
  session.rope = options.rope;
  session.rope_length = kRopeLengthFollow;
  const PreparedItem second = task->item(1);
  const auto logits_at_no_less_than = [&](int64_t least) {
    session.least_rope_length = least;
    const auto own = Session::create(savanna(), session);
    own->prefill(second.ids);
    const std::span<const float> logits = own->logits();
    return std::vector<float>(logits.begin(), logits.end());
  };
  EXPECT_NE(logits_at_no_less_than(0), logits_at_no_less_than(1030));
}

}  // namespace
}  // namespace okapi::test
