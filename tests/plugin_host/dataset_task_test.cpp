// Datasets and tasks through the loaded plugin: what they give, and what is refused of it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/plugin_host/conformance_params.h"
#include "tests/plugin_host/test_plugins.h"
#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

std::shared_ptr<PluginHost> test_host() {
  return PluginHost::create({.paths = {test_plugins()},
                             .uses_environment = false,
                             .install_folder = {},
                             .logger = nullptr});
}

std::shared_ptr<const Dataset> words(const Json& params, uint64_t seed = 1) {
  return test_host()->dataset("words")->open(params, seed, nullptr);
}

std::shared_ptr<const Task> repeat(const Json& params,
                                   std::shared_ptr<const RecordSource> records = nullptr) {
  return test_host()->task("repeat")->open(params, 1, byte_tokenizer(), std::move(records));
}

TEST(DatasetTest, RecordsDependOnParametersSeedAndIndexAlone) {
  const auto one = words(Json::object());
  const auto two = words(Json::object());
  for (const int64_t i : {9, 0, 4}) EXPECT_EQ(one->record(i).json(), two->record(i).json());
  EXPECT_NE(one->record(0).json(), one->record(1).json());
  EXPECT_NE(one->record(0).json(), words(Json::object(), 2)->record(0).json());
}

TEST(DatasetTest, FieldsKeepTheirTypes) {
  const Json record = words(Json::object())->record(0).json();
  EXPECT_EQ(record["kind"], "text");
  EXPECT_TRUE(record["text"].is_string());
  EXPECT_TRUE(record["share"].is_number());
  EXPECT_EQ(record["list"], (Json{1, "two"}));
}

TEST(DatasetTest, OutlivesItsHostAndDescribesItself) {
  const auto dataset = words({{"n_records", 3}});
  EXPECT_EQ(dataset->count(), 3);
  const Json json = dataset->describe();
  EXPECT_EQ(json["parameters"], (Json{{"n_words", 5}, {"n_records", 3}, {"fault", "none"}}));
  EXPECT_EQ(json["plugin"]["id"], "org.example.dataset.words");
  EXPECT_EQ(json["seed"], 1);
}

TEST(DatasetTest, RefusesIndicesPastTheEnd) {
  EXPECT_EQ(error_of([] { words({{"n_records", 3}})->record(3); }).code(), Code::out_of_range);
  EXPECT_EQ(error_of([] { words({{"n_records", 3}})->record(-1); }).code(), Code::out_of_range);
  EXPECT_EQ(words({{"n_records", -1}})->record(1'000'000).kind, "text");
}

TEST(DatasetTest, RefusesBrokenRecordsByName) {
  const struct {
    const char* fault;
    const char* reason;
  } rows[] = {{"nan", "dataset.words: field share: is not finite"},
              {"utf8", "dataset.words: field text: is not UTF-8"},
              {"twice", "dataset.words: field share: is there twice"},
              {"throw", "dataset.words: lost the words"}};
  for (const auto& row : rows) {
    const Error error = error_of([&] { words({{"fault", row.fault}})->record(0); });
    EXPECT_EQ(error.code(), Code::internal);
    EXPECT_THAT(error.message(), HasSubstr(row.reason));
  }
}

TEST(DatasetTest, RefusesParametersThatAreNotDeclared) {
  const Error error = error_of([] { words({{"n_word", 3}}); });
  EXPECT_EQ(error.code(), Code::invalid_argument);
  EXPECT_THAT(error.message(), HasSubstr("did you mean n_words?"));
}

TEST(TaskTest, DeclaresVersionMetricsAndGroups) {
  const auto plugin = test_host()->task("repeat");
  EXPECT_EQ(plugin->task_version(), "3");
  EXPECT_EQ(plugin->metrics()[0].name, "correct");
  EXPECT_EQ(plugin->metrics()[0].aggregate, OKAPI_AGGREGATE_RATE);
  EXPECT_EQ(plugin->group_by(), std::vector<std::string>{"length"});
  EXPECT_EQ(plugin->default_dataset(), "words");
  const Json json = repeat(Json::object())->describe();
  EXPECT_EQ(json["metrics"][0]["aggregate"], "rate");
  EXPECT_EQ(json["metrics"][0]["better"], "higher");
  EXPECT_EQ(json["task_version"], "3");
}

TEST(TaskTest, ItemsCarryAllThatWasGiven) {
  const TaskItem item = repeat(Json::object())->item(2);
  EXPECT_EQ(item.key, "2");
  ASSERT_EQ(item.parts.size(), 2U);
  EXPECT_EQ(item.parts[0].text, "Repeat: ");
  EXPECT_EQ(byte_tokenizer()->decode(item.parts[1].ids), item.scoring_data);
  EXPECT_EQ(item.max_new_tokens, static_cast<int64_t>(item.scoring_data.size()));
  EXPECT_EQ(item.stop_texts, std::vector<std::string>{"\n"});
  EXPECT_EQ(item.stop_ids, std::vector<int32_t>{2});
  EXPECT_EQ(fields_json(item.attributes)["text"], item.scoring_data);
}

TEST(TaskTest, ScoresWhatTheModelMade) {
  const auto task = repeat(Json::object());
  const TaskItem item = task->item(0);
  TaskOutput output;
  output.text = item.scoring_data;
  const TaskScore right = task->score(item, output);
  EXPECT_EQ(right.values[0].value, 1);
  EXPECT_EQ(right.parsed, item.scoring_data.substr(0, 3));
  output.text += "!";
  EXPECT_EQ(task->score(item, output).values[0].value, 0);
}

// An item that was stored and read again by another process scores the same.
TEST(TaskTest, ScoringNeedsNothingButTheItem) {
  const TaskItem item = repeat(Json::object())->item(1);
  TaskOutput output;
  output.text = item.scoring_data;
  EXPECT_EQ(repeat({{"n_samples", 1}})->score(item, output).values[0].value, 1);
}

TEST(TaskTest, ReadsADataset) {
  const auto dataset = words({{"n_records", 6}});
  const auto task = repeat(Json::object(), dataset);
  EXPECT_EQ(task->count(), 6);
  EXPECT_EQ(task->item(5).scoring_data, dataset->record(5).json()["text"]);
  EXPECT_EQ(task->describe()["records"], "words");
}

TEST(TaskTest, ReadsPromptsThatWereGiven) {
  const auto given = records_from_json(
      Json::parse(R"([{"text": "one", "n": 1}, {"text": "two", "answers": ["a"]}])"),
      "prompts.json");
  const auto task = repeat(Json::object(), given);
  EXPECT_EQ(task->count(), 2);
  EXPECT_EQ(task->item(1).scoring_data, "two");
  EXPECT_EQ(given->record(1).json()["answers"], (Json{"a"}));
  const auto wrong = records_from_json(Json::parse(R"([{"prompt": "one"}])"), "prompts.json");
  const Error error = error_of([&] { repeat(Json::object(), wrong)->item(0); });
  EXPECT_EQ(error.code(), Code::invalid_argument);
  EXPECT_EQ(error.field_name(), "text");
  EXPECT_EQ(error_of([] { records_from_json(Json::parse("[1]"), "p"); }).code(),
            Code::invalid_argument);
}

TEST(TaskTest, RefusesBrokenItemsAndScoresByName) {
  EXPECT_THAT(error_of([] {
                repeat({{"fault", "no_parts"}})->item(0);
              }).message(),
              HasSubstr("task.repeat: parts: there are none"));
  const auto score = [](const char* fault) {
    const auto task = repeat({{"fault", fault}});
    return error_of([&] { task->score(task->item(0), TaskOutput{}); }).message();
  };
  EXPECT_THAT(score("metric"), HasSubstr("undeclared: is a metric the task does not declare"));
  EXPECT_THAT(score("flag"), HasSubstr("correct: is a flag, wanted 0 or 1"));
}

}  // namespace
}  // namespace okapi::test
