// Lines documents to learn from.

#include <regex>
#include <set>

#include "tests/plugins/datasets/corpus_files.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

std::shared_ptr<const Dataset> training(Json params, uint64_t seed = 1) {
  params["training"] = true;
  return lines_dataset(params, seed, savanna_tokenizer());
}

std::map<std::string, std::string> rows_of(const std::string& text) {
  static const std::regex kRow("line ([^:\n]+): REGISTER_CONTENT is <([0-9]+)>\n");
  std::map<std::string, std::string> rows;
  for (std::sregex_iterator it(text.begin(), text.end(), kRow), end; it != end; ++it)
    rows[(*it)[1]] = (*it)[2];
  return rows;
}

// As the savanna models' own: rows, then questions, each with its answer; nothing else has loss.
TEST(LinesTrainingTest, CompactDocumentsAnswerEachQuestionFromTheRows) {
  const auto dataset = training({{"style", "compact"}, {"length", 512}});
  EXPECT_EQ(dataset->count(), -1);
  const std::regex question("What is the REGISTER_CONTENT in line ([^?]+)\\? <$");
  std::set<int64_t> n_questions;
  for (int64_t i = 0; i < 60; ++i) {
    const Json record = dataset->record(i).json();
    ASSERT_EQ(record["kind"], "text");
    const std::string text = record["text"];
    const auto rows = rows_of(text);
    std::set<std::string> asked;
    size_t done = text.find("What is");
    ASSERT_EQ(text.substr(0, done).rfind(">\n") + 2, done);
    for (const Json& range : record["learned"]) {
      const size_t begin = range[0];
      const size_t end = range[1];
      const std::string before = text.substr(done, begin - done);
      std::smatch match;
      ASSERT_TRUE(std::regex_match(before, match, question)) << before;
      ASSERT_TRUE(rows.contains(match[1])) << match[1];
      EXPECT_EQ(text.substr(begin, end - begin), rows.at(match[1]) + ">\n");
      EXPECT_TRUE(asked.insert(match[1]).second) << "a line is asked for once";
      done = end;
    }
    EXPECT_EQ(done, text.size());
    EXPECT_EQ(record["num_questions"], asked.size());
    n_questions.insert(static_cast<int64_t>(asked.size()));
  }
  EXPECT_EQ(*n_questions.rbegin(), 10);  // the default's most
  EXPECT_GT(n_questions.size(), 4U);
}

TEST(LinesTrainingTest, LengthsVaryBetweenTheBoundsAndNeverPassThem) {
  const auto tokenizer = savanna_tokenizer();
  const auto dataset = training({{"style", "compact"}, {"length", 400}, {"min_length", 100}});
  std::vector<int64_t> below(4);
  for (int64_t i = 0; i < 200; ++i) {
    const auto n = static_cast<int64_t>(
        tokenizer->encode(dataset->record(i).json()["text"].get<std::string>(), true).size());
    ASSERT_LE(n, 400);
    ASSERT_GE(n, 60) << "a document ends within a line or so of its length";
    ++below[static_cast<size_t>(std::min<int64_t>(n / 100, 3))];
  }
  // Uniform over 300 tokens, of which each of these stretches has a third: 67 of 200, to five
  // deviations.
  for (const size_t stretch : {1U, 2U, 3U}) EXPECT_NEAR(below[stretch], 67, 34) << stretch;
}

TEST(LinesTrainingTest, DocumentsAreFreshForever) {
  const auto dataset = training({{"style", "compact"}, {"length", 200}});
  std::set<std::string> seen;
  for (const int64_t base : {int64_t{0}, int64_t{1} << 40}) {
    for (int64_t i = 0; i < 100; ++i) {
      EXPECT_TRUE(seen.insert(dataset->record(base + i).json()["text"]).second);
    }
  }
  const auto again = training({{"style", "compact"}, {"length", 200}});
  EXPECT_EQ(again->record(77).json(), dataset->record(77).json());
  EXPECT_NE(training({{"style", "compact"}, {"length", 200}}, 2)->record(77).json(),
            dataset->record(77).json());
  EXPECT_EQ(training({{"style", "compact"}, {"length", 200}, {"n_samples", 9}})->count(), 9);
}

TEST(LinesTrainingTest, LongchatDocumentsAreConversations) {
  const auto dataset =
      training({{"n_lines", 30}, {"min_lines", 5}, {"questions", 3}, {"min_questions", 3}});
  std::set<size_t> sizes;
  for (int64_t i = 0; i < 20; ++i) {
    const Json turns = dataset->record(i).json()["turns"];
    ASSERT_EQ(turns.size(), 6U);
    const std::string first = turns[0]["text"];
    EXPECT_TRUE(first.starts_with("Below is a record of lines"));
    const auto rows = rows_of(first);
    sizes.insert(rows.size());
    static const std::regex kQuestion(
        "Tell me what is the <REGISTER_CONTENT> in line ([^?]+)\\? I need the number\\.$");
    for (size_t k = 0; k < 6; k += 2) {
      EXPECT_EQ(turns[k]["role"], "user");
      EXPECT_EQ(turns[k + 1]["role"], "assistant");
      const std::string asked = turns[k]["text"];
      std::smatch match;
      ASSERT_TRUE(std::regex_search(asked, match, kQuestion)) << asked;
      EXPECT_EQ(turns[k + 1]["text"], rows.at(match[1]));  // the number alone: it is what is scored
    }
  }
  EXPECT_GE(*sizes.begin(), 5U);
  EXPECT_LE(*sizes.rbegin(), 30U);
  EXPECT_GT(sizes.size(), 5U);
}

TEST(LinesTrainingTest, ContradictionsNameTheParameter) {
  const auto field_of = [](const Json& params) {
    return error_of([&] { lines_dataset(params, 1, savanna_tokenizer()); }).field_name();
  };
  EXPECT_EQ(field_of({{"questions", 3}}), "questions");  // without training
  EXPECT_EQ(field_of({{"training", true}, {"length", 300}, {"n_lines", 3}}), "n_lines");
  EXPECT_EQ(
      field_of({{"training", true}, {"style", "compact"}, {"length", 300}, {"min_length", 301}}),
      "min_length");
  EXPECT_EQ(
      field_of({{"training", true}, {"style", "compact"}, {"length", 300}, {"min_length", 10}}),
      "min_length");
  EXPECT_EQ(field_of({{"training", true}, {"style", "compact"}, {"length", 20}}), "length");
  EXPECT_EQ(field_of({{"training", true}, {"questions", 3}, {"min_questions", 4}}),
            "min_questions");
  EXPECT_EQ(field_of({{"training", true}, {"file", "x"}}), "file");
  EXPECT_EQ(error_of([] {
              lines_dataset({{"training", true}, {"length", 300}});
            }).field_name(),
            "length");
}

}  // namespace
}  // namespace okapi::test
