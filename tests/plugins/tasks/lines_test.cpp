#include <algorithm>
#include <functional>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
#include "tests/support/lines_plugins.h"

namespace okapi {
namespace {

using testing::HasSubstr;

Error error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "wanted an error";
  return {Code::ok, ""};
}

std::vector<std::string> rows_of(const std::string& prompt) {
  static const std::regex kRow("line [^:\n]+: REGISTER_CONTENT is <[0-9]+>\n");
  std::vector<std::string> rows;
  for (std::sregex_iterator it(prompt.begin(), prompt.end(), kRow), end; it != end; ++it) {
    rows.push_back(it->str());
  }
  return rows;
}

std::shared_ptr<const BoundTask> given_task(const Json& prompts,
                                            const Json& parameters = Json::object()) {
  return BoundTask::open_prompts(lines_host(), "lines", parameters, prompts, "prompts.json",
                                 savanna_tokenizer());
}

/// What transformers was asked, and what it answered: see tests/data/golden.
Json golden(const std::string& file) {
  return parse_json_file(OKAPI_TEST_DATA "/golden/lines/" + file, "test");
}

// Never above the target, and less than one line below it: what is left is smaller than the largest
// line.
TEST(LinesTaskTest, PromptIsTheTargetLengthLessUnderOneLine) {
  for (const char* style : {"compact", "longchat"}) {
    for (int64_t length : {256, 300, 333, 480, 512, 768, 1000, 1024, 2000, 2048, 4096}) {
      for (uint64_t seed : {1, 2, 3}) {
        const auto task =
            lines_task({{"style", style}, {"length", length}, {"n_samples", 4}}, seed);
        for (int64_t i = 0; i < task->count(); ++i) {
          const PreparedItem item = task->item(i);
          int64_t largest = 0;
          for (const std::string& row : rows_of(item.prompt)) {
            largest = std::max(
                largest, static_cast<int64_t>(savanna_tokenizer()->encode(row, false).size()));
          }
          const auto n = static_cast<int64_t>(item.ids.size());
          EXPECT_LE(n, length) << style << ' ' << seed << ' ' << i;
          // Lines of other documents may be longer than this one's, by a few tokens of a label.
          EXPECT_GT(n, length - largest - 6) << style << ' ' << seed << ' ' << i;
        }
      }
    }
  }
}

// The definition itself: with the next line the prompt would be too long. The next line of a
// document is seen in the same document made longer.
TEST(LinesTaskTest, OneLineMoreWouldBeTooLong) {
  for (const char* style : {"compact", "longchat"}) {
    for (int64_t length : {400, 700, 1500}) {
      const Json parameters = {
          {"style", style}, {"length", length}, {"depth", 0}, {"n_samples", 10}};
      Json longer = parameters;
      longer["length"] = length + 200;
      const auto task = lines_task(parameters, 9);
      const auto longer_task = lines_task(longer, 9);
      for (int64_t i = 0; i < 10; ++i) {
        const std::string prompt = task->item(i).prompt;
        const std::vector<std::string> rows = rows_of(longer_task->item(i).prompt);
        const size_t n_rows = rows_of(prompt).size();
        ASSERT_GT(rows.size(), n_rows);
        std::string with_next = prompt;
        with_next.insert(prompt.rfind(">\n") + 2, rows[n_rows]);
        EXPECT_GT(static_cast<int64_t>(savanna_tokenizer()->encode(with_next, true).size()),
                  length);
      }
    }
  }
}

TEST(LinesTaskTest, AttributesSayWhatThePromptIs) {
  const auto task = lines_task({{"style", "compact"}, {"length", 512}, {"n_samples", 12}});
  ASSERT_EQ(task->count(), 12);
  for (int64_t i = 0; i < 12; ++i) {
    const Json item = task->item_json(i);
    const Json& attributes = item["attributes"];
    const std::vector<std::string> rows = rows_of(item["prompt"]);
    EXPECT_EQ(attributes["length"], 512);
    EXPECT_EQ(attributes["n_lines"], rows.size());
    EXPECT_EQ(attributes["n_tokens"], item["n_tokens"]);
    EXPECT_EQ(item["n_tokens"], item["prompt_ids"].size());
    EXPECT_EQ(item["prompt_ids"][0], savanna_tokenizer()->bos_id());
    const auto asked = attributes["asked"].get<size_t>();
    EXPECT_THAT(rows[asked], HasSubstr(std::string("<") + item["expected"].dump() + ">"));
    EXPECT_DOUBLE_EQ(attributes["depth"].get<double>(), double(asked) / double(rows.size() - 1));
    EXPECT_EQ(attributes["depth_decile"],
              std::min(9, static_cast<int>(attributes["depth"].get<double>() * 10)));
    EXPECT_EQ(item["key"], std::string("512/") + std::to_string(i));
  }
}

TEST(LinesTaskTest, BudgetFollowsTheStyle) {
  const Json compact = lines_task({{"style", "compact"}})->item_json(0);
  EXPECT_EQ(compact["max_tokens"], 8);
  EXPECT_EQ(compact["min_tokens"], 0);
  EXPECT_EQ(compact["ignore_eos"], true);
  const Json longchat = lines_task(Json::object())->item_json(0);
  EXPECT_EQ(longchat["max_tokens"], 35);
  EXPECT_EQ(longchat["min_tokens"], 5);
  EXPECT_EQ(longchat["ignore_eos"], false);
  const Json chosen = lines_task({{"max_new_tokens", 3}})->item_json(0);
  EXPECT_EQ(chosen["max_tokens"], 3);
  EXPECT_EQ(chosen["min_tokens"], 3);
}

TEST(LinesTaskTest, BudgetMayCountAsPartOfTheLength) {
  const auto task = lines_task(
      {{"style", "compact"}, {"length", 512}, {"include_budget", true}, {"max_new_tokens", 100}});
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_LE(task->item(i).n_tokens_in_all(), 512);
    EXPECT_GT(task->item(i).n_tokens_in_all(), 512 - 30);
  }
}

TEST(LinesTaskTest, DepthPlacesTheAskedLine) {
  const auto depths_of = [](const Json& parameters) {
    Json all = {{"style", "compact"}, {"n_lines", 21}, {"n_samples", 10}};
    all.update(parameters);
    const auto task = lines_task(all);
    std::vector<int> asked;
    for (int64_t i = 0; i < 10; ++i) asked.push_back(task->item_json(i)["attributes"]["asked"]);
    return asked;
  };
  EXPECT_EQ(depths_of({{"depth", 0}}), std::vector<int>(10, 0));
  EXPECT_EQ(depths_of({{"depth", 0.5}}), std::vector<int>(10, 10));
  EXPECT_EQ(depths_of({{"depth", 1}}), std::vector<int>(10, 20));
  EXPECT_EQ(depths_of({{"depths", 5}}), (std::vector<int>{0, 5, 10, 15, 20, 0, 5, 10, 15, 20}));

  const std::vector<int> random = depths_of(Json::object());
  EXPECT_GT(std::set<int>(random.begin(), random.end()).size(), 3);
}

TEST(LinesTaskTest, ItemsDependOnParametersSeedAndIndexAlone) {
  const Json parameters = {{"style", "compact"}, {"length", 700}, {"n_samples", 8}};
  const auto first = lines_task(parameters, 4);
  const auto second = lines_task(parameters, 4);
  std::vector<Json> items;
  for (int64_t i = 0; i < 8; ++i) items.push_back(first->item_json(i));
  for (int64_t i = 7; i >= 0; --i) EXPECT_EQ(second->item_json(i), items[static_cast<size_t>(i)]);
  EXPECT_NE(lines_task(parameters, 5)->item(0).prompt, first->item(0).prompt);
}

// The first items of a longer task are those of a shorter one: a run can be extended.
TEST(LinesTaskTest, MoreSamplesKeepTheFirstOnes) {
  Json parameters = {{"style", "compact"}, {"length", 300}, {"n_samples", 3}};
  const auto few = lines_task(parameters);
  parameters["n_samples"] = 30;
  const auto many = lines_task(parameters);
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(few->item(i).ids, many->item(i).ids);
}

TEST(LinesTaskTest, VicunaTemplateSurroundsThePrompt) {
  const auto plain = lines_task({{"n_lines", 5}});
  const auto wrapped = lines_task({{"n_lines", 5}, {"template", "vicuna"}});
  EXPECT_EQ(
      wrapped->item(0).prompt,
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
      "helpful, detailed, and polite answers to the user's questions. USER: " +
          plain->item(0).prompt + " ASSISTANT:");
}

TEST(LinesTaskTest, LengthCountsTheTemplate) {
  const auto task = lines_task({{"length", 1000}, {"template", "vicuna"}, {"n_samples", 3}});
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_LE(task->item(i).ids.size(), 1000);
    EXPECT_GT(task->item(i).ids.size(), 1000 - 45);
  }
}

TEST(LinesTaskTest, SixteenThousandTokensAreFilled) {
  const auto task = lines_task({{"style", "compact"}, {"length", 16384}, {"n_samples", 5}});
  for (int64_t i = 0; i < 5; ++i) EXPECT_GT(task->item(i).ids.size(), 16384 - 30);
}

TEST(LinesTaskTest, ScoringTable) {
  struct Case {
    const char* output;
    const char* first;
    const char* last;
  };
  const Case cases[] = {
      {"32440>\n>", "32440", "32440"},
      {"The number is 17, not 18.", "17", "18"},
      {"line 3 holds <42>", "3", "42"},
      {"00042>", "42", "42"},
      {"0", "0", "0"},
      {"000", "0", "0"},
      {"12a34", "12", "34"},
      {"-5", "5", "5"},  // a maximal run of digits: the sign is none
      {"3.14", "3", "14"},
      {"no number", "-1", "-1"},
      {"", "-1", "-1"},
      {"99999999999999999999999", "99999999999999999999999", "99999999999999999999999"},
      {"\xEF\xBF\xBD"
       "7",
       "7", "7"},
  };
  const auto first = given_task({{{"prompt", "p"}, {"expected", 42}}});
  const auto last = given_task({{{"prompt", "p"}, {"expected", 42}}}, {{"score", "last"}});
  const auto text_of = [](const Json& parsed) {
    return parsed.is_string() ? parsed.get<std::string>() : parsed.dump();
  };
  for (const Case& c : cases) {
    EXPECT_EQ(text_of(first->score_json(0, c.output)["parsed"]), c.first) << c.output;
    EXPECT_EQ(text_of(last->score_json(0, c.output)["parsed"]), c.last) << c.output;
    EXPECT_EQ(first->score_json(0, c.output)["correct"], std::string(c.first) == "42") << c.output;
    EXPECT_EQ(last->score_json(0, c.output)["correct"], std::string(c.last) == "42") << c.output;
  }
}

TEST(LinesTaskTest, ExpectedTextEqualsItsNumber) {
  const auto task = given_task({{{"prompt", "p"}, {"expected", "0042"}}});
  EXPECT_EQ(task->score_json(0, "42")["correct"], true);
}

// What transformers did with each prompt, scored by this task.
TEST(LinesTaskTest, ScoresTransformersAnswersAsItsMakersDid) {
  const auto task = given_task(golden("prompts.json"));
  ASSERT_EQ(task->count(), 120);
  const Json base = golden("answers.base.json");
  for (const auto& [name, answers] : base.items()) {
    for (int64_t i = 0; i < task->count(); ++i) {
      const Json& row = answers["rows"][static_cast<size_t>(i)];
      const Json score = task->score_json(i, row["output"]);
      EXPECT_EQ(score["parsed"], row["parsed"]) << name << ' ' << i;
      EXPECT_EQ(score["correct"], row["correct"]) << name << ' ' << i;
    }
  }
}

TEST(LinesTaskTest, GivenPromptsKeepTheirWordsAndCountTheirTokens) {
  const Json prompts = golden("prompts.json");
  const auto task = given_task(prompts);
  for (int64_t i = 0; i < task->count(); ++i) {
    const Json& given = prompts[static_cast<size_t>(i)];
    const Json item = task->item_json(i);
    EXPECT_EQ(item["prompt"], given["prompt"]);
    EXPECT_EQ(item["n_tokens"], given["n_tokens"]);
    EXPECT_EQ(item["expected"], given["expected"]);
    EXPECT_EQ(item["max_tokens"], 8);
    EXPECT_EQ(item["attributes"]["length"], given["length"]);
    EXPECT_EQ(item["attributes"]["asked"], given["asked"]);
  }
}

TEST(LinesTaskTest, WrapsRecordsOfTheDataset) {
  const auto published =
      lines_dataset({{"file", OKAPI_TEST_DATA "/lines/longeval_200_lines.jsonl"}});
  const auto task = lines_task({{"style", "longchat"}, {"template", "vicuna"}}, 1, published);
  ASSERT_EQ(task->count(), 1);
  const Json item = task->item_json(0);
  const Json record =
      Json::parse(read_file(OKAPI_TEST_DATA "/lines/longeval_200_lines.jsonl", 1 << 20));
  EXPECT_THAT(item["prompt"].get<std::string>(), HasSubstr(record["prompt"].get<std::string>()));
  EXPECT_EQ(item["expected"], 2416);
  EXPECT_EQ(item["max_tokens"], 35);
  EXPECT_EQ(item["attributes"]["n_lines"], 200);
  EXPECT_EQ(item["attributes"]["asked"], 7);
  EXPECT_DOUBLE_EQ(item["attributes"]["depth"].get<double>(), 7.0 / 199);

  // Made records say their style themselves.
  EXPECT_EQ(
      lines_task(Json::object(), 1, lines_dataset({{"n_lines", 9}}))->item_json(0)["max_tokens"],
      35);
  const auto compact = lines_dataset({{"n_lines", 9}, {"style", "compact"}, {"n_samples", 4}});
  EXPECT_EQ(lines_task(Json::object(), 1, compact)->count(), 4);
  EXPECT_EQ(lines_task(Json::object(), 1, compact)->item_json(3)["max_tokens"], 8);
}

TEST(LinesTaskTest, SecondBeginningOfSequenceIsRefused) {
  const auto task = given_task({{{"prompt", "<s>line a"}, {"expected", 1}}});
  const Error error = error_of([&] { task->item(0); });
  EXPECT_EQ(error.code(), Code::invalid_argument);
  EXPECT_THAT(error.message(), HasSubstr("begins with <s>"));
  EXPECT_EQ(error.field_name(), "prompt");
}

TEST(LinesTaskTest, BosIsAsTheParameterSays) {
  const Json prompts = {{{"prompt", "line"}, {"expected", 1}}};
  const std::vector<int32_t> with = given_task(prompts)->item(0).ids;
  const std::vector<int32_t> without = given_task(prompts, {{"bos", "none"}})->item(0).ids;
  EXPECT_EQ(with, savanna_tokenizer()->encode("line", true));
  EXPECT_EQ(without, savanna_tokenizer()->encode("line", false));
}

TEST(LinesTaskTest, RefusesContradictionsNamingTheParameter) {
  const auto field_of = [](const Json& parameters) {
    return error_of([&] { lines_task(parameters)->item(0); }).field_name();
  };
  EXPECT_EQ(field_of({{"length", 300}, {"n_lines", 5}}), "n_lines");
  EXPECT_EQ(field_of({{"depth", 0.5}, {"depths", 5}}), "depths");
  EXPECT_EQ(field_of({{"depth", 1.5}}), "depth");
  EXPECT_EQ(field_of({{"min_new_tokens", 9}, {"max_new_tokens", 8}}), "min_new_tokens");
  EXPECT_EQ(field_of({{"length", 20}, {"style", "compact"}}), "length");
  EXPECT_EQ(field_of({{"length", 40000}, {"style", "compact"}}), "labels");
  EXPECT_EQ(field_of({{"lenght", 300}}), "lenght");
  const Json prompts = {{{"prompt", "p"}, {"expected", 1}}};
  EXPECT_EQ(error_of([&] { given_task(prompts, {{"length", 300}}); }).field_name(), "length");
  EXPECT_EQ(error_of([&] { given_task(prompts, {{"n_samples", 2}}); }).field_name(), "n_samples");
  EXPECT_EQ(error_of([&] { given_task({{{"prompt", "p"}}})->item(0); }).field_name(), "expected");
  EXPECT_EQ(error_of([&] {
              given_task({{{"prompt", "p"}, {"expected", "x"}}})->item(0);
            }).field_name(),
            "expected");
  EXPECT_EQ(error_of([&] { given_task({{{"expected", 1}}})->item(0); }).field_name(), "prompt");
}

TEST(LinesTaskTest, TellsItsMetricAndGroups) {
  const auto task = lines_task(Json::object());
  ASSERT_EQ(task->metrics().size(), 1);
  EXPECT_EQ(task->metrics()[0].name, "correct");
  EXPECT_EQ(task->metrics()[0].aggregate, Aggregate::rate);
  EXPECT_EQ(task->group_by(), (std::vector<std::string>{"length", "depth_decile"}));
}

TEST(LinesTaskTest, IdentityChangesWithWhatDecidesTheItems) {
  const Json parameters = {{"style", "compact"}};
  const Json identity = lines_task(parameters, 1)->identity();
  EXPECT_EQ(lines_task(parameters, 1)->identity(), identity);
  EXPECT_NE(lines_task(parameters, 2)->identity(), identity);
  EXPECT_NE(lines_task({{"style", "compact"}, {"length", 300}}, 1)->identity(), identity);
  EXPECT_NE(lines_task(parameters, 1, lines_dataset({{"n_lines", 9}}))->identity(), identity);
  EXPECT_NE(given_task({{{"prompt", "p"}, {"expected", 1}}})->identity(),
            given_task({{{"prompt", "q"}, {"expected", 1}}})->identity());
}

}  // namespace
}  // namespace okapi
