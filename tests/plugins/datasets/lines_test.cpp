#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
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
#include "tests/support/temporary_folder.h"

namespace okapi {
namespace {

using testing::HasSubstr;

struct Row {
  std::string label;
  int64_t number;
};

/// The rows of a prompt, as the definition writes them.
std::vector<Row> rows_of(const std::string& prompt) {
  static const std::regex kRow("line ([^:\n]+): REGISTER_CONTENT is <([0-9]+)>\n");
  std::vector<Row> rows;
  for (std::sregex_iterator it(prompt.begin(), prompt.end(), kRow), end; it != end; ++it) {
    rows.push_back({(*it)[1], std::stoll((*it)[2])});
  }
  return rows;
}

/// What surrounds the rows, and comes before the label of the question and after it.
struct Frame {
  std::string header, question, end;
};

Frame frame_of(const std::string& prompt, const std::string& asked_label) {
  const size_t rows_begin = prompt.find("line " + rows_of(prompt).front().label + ": ");
  const size_t rows_end = prompt.rfind(">\n") + 2;
  const size_t label = prompt.rfind(asked_label);
  return {prompt.substr(0, rows_begin), prompt.substr(rows_end, label - rows_end),
          prompt.substr(label + asked_label.size())};
}

Error error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "wanted an error";
  return {Code::ok, ""};
}

/// The words of LongEval's own record, from its file.
Json longeval_record() {
  return Json::parse(read_file(OKAPI_TEST_DATA "/lines/longeval_200_lines.jsonl", 1 << 20));
}

TEST(LinesDatasetTest, WordingEqualsLongEvalsToTheByte) {
  const Json published = longeval_record();
  const Frame wanted = frame_of(published["prompt"], published["random_idx"][0]);
  const Json made = lines_dataset({{"trailing_space", true}})->record(0).json();
  const Frame found = frame_of(made["prompt"], made["random_idx"][0]);
  EXPECT_EQ(found.header, wanted.header);
  EXPECT_EQ(found.question, wanted.question);
  EXPECT_EQ(found.end, wanted.end);
  EXPECT_EQ(wanted.end, "? I need the number. ");  // the shipped file's extra blank

  const Json plain = lines_dataset(Json::object())->record(0).json();
  EXPECT_EQ(frame_of(plain["prompt"], plain["random_idx"][0]).end, "? I need the number.");
}

TEST(LinesDatasetTest, CompactWordingIsRowsAndAQuestionToComplete) {
  const Json made = lines_dataset({{"style", "compact"}, {"n_lines", 10}})->record(0).json();
  const Frame found = frame_of(made["prompt"], made["random_idx"][0]);
  EXPECT_EQ(found.header, "");
  EXPECT_EQ(found.question, "What is the REGISTER_CONTENT in line ");
  EXPECT_EQ(found.end, "? <");
}

TEST(LinesDatasetTest, FieldsSayWhatThePromptHolds) {
  for (const char* labels : {"NL", "LRT", "ABC", "UUID"}) {
    for (const char* style : {"longchat", "compact"}) {
      const auto dataset =
          lines_dataset({{"labels", labels}, {"style", style}, {"n_lines", 30}}, 7);
      EXPECT_EQ(dataset->count(), 50);
      for (int64_t i = 0; i < dataset->count(); ++i) {
        const Json record = dataset->record(i).json();
        const std::vector<Row> rows = rows_of(record["prompt"]);
        const auto asked = record["random_idx"][1].get<size_t>();
        ASSERT_EQ(rows.size(), 30);
        EXPECT_EQ(record["num_lines"], 30);
        EXPECT_EQ(record["random_idx"][0], rows.at(asked).label);
        EXPECT_EQ(record["expected_number"], rows[asked].number);
        EXPECT_EQ(record["correct_line"], "line " + rows[asked].label + ": REGISTER_CONTENT is <" +
                                              std::to_string(rows[asked].number) + ">\n");
        EXPECT_EQ(record["kind"], "prompt");
      }
    }
  }
}

TEST(LinesDatasetTest, LabelsAreDifferentWithinAPrompt) {
  const std::vector<std::pair<Json, size_t>> cases = {
      {{{"n_lines", 1350}}, 1350},  // LongChat's longest set
      {{{"n_lines", 5000}}, 5000},  // words come again, pairs do not
      {{{"n_lines", 1600}, {"style", "compact"}}, 1600},
      {{{"n_lines", 3000}, {"labels", "UUID"}}, 3000},
      {{{"n_lines", 3000}, {"labels", "ABC"}}, 3000},
      {{{"n_lines", 3000}, {"labels", "LRT"}}, 3000},
  };
  for (const auto& [parameters, n_lines] : cases) {
    std::set<std::string> labels;
    for (const Row& row : rows_of(lines_dataset(parameters)->record(0).json()["prompt"])) {
      labels.insert(row.label);
    }
    EXPECT_EQ(labels.size(), n_lines) << parameters;
  }
}

// LongChat draws adjectives and nouns without repetition.
TEST(LinesDatasetTest, WordsComeOnceUpToLongChatsLongestSet) {
  std::set<std::string> adjectives;
  std::set<std::string> nouns;
  for (const Row& row : rows_of(lines_dataset({{"n_lines", 1350}})->record(0).json()["prompt"])) {
    const size_t dash = row.label.find('-');
    adjectives.insert(row.label.substr(0, dash));
    nouns.insert(row.label.substr(dash + 1));
  }
  EXPECT_EQ(adjectives.size(), 1350);
  EXPECT_EQ(nouns.size(), 1350);
}

TEST(LinesDatasetTest, LabelModesLookAsLongChatsDo) {
  const auto first_labels = [](const char* labels) {
    return rows_of(lines_dataset({{"labels", labels}, {"n_lines", 8}})->record(3).json()["prompt"]);
  };
  EXPECT_EQ(first_labels("LRT")[7].label, "8");
  EXPECT_EQ(first_labels("ABC")[0].label, "AAAAAA");
  EXPECT_EQ(first_labels("ABC")[7].label, "AAAABB");  // 7 = 1 * 6 + 1
  for (const Row& row : first_labels("UUID")) {
    EXPECT_THAT(row.label,
                testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-"
                                      "[0-9a-f]{12}"));
  }
  for (const Row& row : first_labels("NL")) {
    EXPECT_THAT(row.label, testing::MatchesRegex("[a-z]+-[a-z]+"));
  }
}

// 6^6 = 46656 labels of six letters; one line more takes seven.
TEST(LinesDatasetTest, LettersWidenWithTheNumberOfLines) {
  const auto dataset = lines_dataset({{"labels", "ABC"}, {"n_lines", 46657}, {"style", "compact"}});
  const std::vector<Row> rows = rows_of(dataset->record(0).json()["prompt"]);
  EXPECT_EQ(rows[0].label, "AAAAAAA");
  EXPECT_EQ(rows[46656].label, "BAAAAAA");
}

// With 60 000 draws the extremes of a range of 50 000 are missed with probability e^-1.2 each, so
// only neighbourhoods of them are asked for: 1000 draws of a tenth each side are certain in
// practice.
TEST(LinesDatasetTest, NumbersAreUniformFromOneToFiftyThousand) {
  const auto dataset = lines_dataset({{"n_lines", 1200}});
  std::vector<int64_t> tenths(10, 0);
  int64_t n = 0;
  for (int64_t i = 0; i < 50; ++i) {
    for (const Row& row : rows_of(dataset->record(i).json()["prompt"])) {
      ASSERT_GE(row.number, 1);
      ASSERT_LE(row.number, 50000);
      ++tenths[static_cast<size_t>((row.number - 1) / 5000)];
      ++n;
    }
  }
  ASSERT_EQ(n, 60000);
  // Each tenth: 6000, standard deviation sqrt(60000 * .1 * .9) = 73.5; five of them.
  for (int64_t count : tenths) EXPECT_NEAR(static_cast<double>(count), 6000, 5 * 73.5);
}

TEST(LinesDatasetTest, AskedLineIsUniform) {
  const auto dataset = lines_dataset({{"n_lines", 20}, {"n_samples", 4000}, {"style", "compact"}});
  std::vector<int64_t> counts(20, 0);
  for (int64_t i = 0; i < 4000; ++i) {
    ++counts[dataset->record(i).json()["random_idx"][1].get<size_t>()];
  }
  // 200 each, standard deviation sqrt(4000 * .05 * .95) = 13.8; five of them.
  for (int64_t count : counts) EXPECT_NEAR(static_cast<double>(count), 200, 5 * 13.8);
}

TEST(LinesDatasetTest, RecordDependsOnParametersSeedAndIndexAlone) {
  const Json parameters = {{"n_lines", 40}};
  const auto forwards = lines_dataset(parameters, 5);
  const auto backwards = lines_dataset(parameters, 5);
  std::vector<Json> records;
  for (int64_t i = 0; i < 20; ++i) records.push_back(forwards->record(i).json());
  for (int64_t i = 19; i >= 0; --i) EXPECT_EQ(backwards->record(i).json(), records[size_t(i)]);

  EXPECT_NE(lines_dataset(parameters, 6)->record(0).json(), records[0]);
  std::set<std::string> prompts;
  for (const Json& record : records) prompts.insert(record["prompt"]);
  EXPECT_EQ(prompts.size(), records.size());
}

TEST(LinesDatasetTest, AnotherProcessMakesTheSameBytes) {
  const auto all_records = [] {
    std::string text;
    const auto dataset = lines_dataset({{"n_lines", 25}, {"labels", "UUID"}}, 11);
    for (int64_t i = 0; i < dataset->count(); ++i) text += dataset->record(i).json().dump() + "\n";
    return text;
  };
  const test::TemporaryFolder folder;
  const pid_t child = fork();
  if (child == 0) {
    std::ofstream(folder.path() / "records") << all_records();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  EXPECT_EQ(read_file(folder.path() / "records", 1 << 24), all_records());
}

TEST(LinesDatasetTest, LengthIsCountedInTokens) {
  const auto dataset = lines_dataset({{"length", 600}, {"style", "compact"}, {"n_samples", 20}}, 3,
                                     savanna_tokenizer());
  for (int64_t i = 0; i < 20; ++i) {
    const Json record = dataset->record(i).json();
    const auto n = static_cast<int64_t>(
        savanna_tokenizer()->encode(record["prompt"].get<std::string>(), true).size());
    EXPECT_EQ(record["token_size"], n);
    EXPECT_LE(n, 600);
    EXPECT_GT(n, 600 - 30);  // a compact line takes some twenty tokens
    EXPECT_EQ(record["length"], 600);
  }
}

TEST(LinesDatasetTest, RefusesWhatItCannotMake) {
  const auto message_of = [](const Json& parameters) {
    return error_of([&] { lines_dataset(parameters); }).message();
  };
  EXPECT_THAT(message_of({{"n_lines", 1601}, {"style", "compact"}}),
              HasSubstr("the labels give 1600 different lines, wanted 1601"));
  EXPECT_THAT(message_of({{"length", 100}}), HasSubstr("needs a tokenizer"));
  EXPECT_THAT(message_of({{"labels", "roman"}}), HasSubstr("labels"));
  EXPECT_THAT(message_of({{"n_lines", 0}}), HasSubstr("n_lines"));
  EXPECT_THAT(message_of({{"lines", 5}}), HasSubstr("lines"));
  EXPECT_EQ(error_of([] { lines_dataset(Json::object())->record(50); }).code(), Code::out_of_range);
}

TEST(LinesDatasetTest, ReadsPublishedRecordsAsTheyAre) {
  const auto dataset = lines_dataset({{"file", OKAPI_TEST_DATA "/lines/longeval_200_lines.jsonl"}});
  ASSERT_EQ(dataset->count(), 1);
  Json record = dataset->record(0).json();
  EXPECT_EQ(record["kind"], "prompt");
  record.erase("kind");
  EXPECT_EQ(record, longeval_record());
}

/// Writes a file and opens it as a dataset.
std::shared_ptr<const Dataset> open_file(const std::filesystem::path& path,
                                         const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
  return lines_dataset({{"file", path.string()}});
}

TEST(LinesDatasetTest, ReadsCompressedFilesAndLineBreaksOfAnyKind) {
  const test::TemporaryFolder folder;
  const std::string record = R"({"prompt": "p", "expected_number": 1})";
  EXPECT_EQ(open_file(folder.path() / "a.jsonl", record + "\r\n\n" + record)->count(), 2);

  gzFile file = gzopen((folder.path() / "b.jsonl.gz").c_str(), "wb");
  const std::string text = record + "\n" + record + "\n" + record + "\n";
  ASSERT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())),
            static_cast<int>(text.size()));
  gzclose(file);
  EXPECT_EQ(lines_dataset({{"file", (folder.path() / "b.jsonl.gz").string()}})->count(), 3);
  EXPECT_EQ(
      lines_dataset({{"file", (folder.path() / "b.jsonl.gz").string()}, {"n_samples", 2}})->count(),
      2);
}

// Whatever is wrong, the message names the file and the line.
TEST(LinesDatasetTest, DamagedLinesAreNamed) {
  const std::string good = R"({"prompt": "p", "expected_number": 1})"
                           "\n";
  const std::vector<std::pair<std::string, std::string>> damages = {
      {R"({"prompt": "p", "expected_number": 1)", "wanted a JSON object"},
      {"[1, 2]", "wanted a JSON object, found array"},
      {R"({"expected_number": 1})", "prompt: is missing"},
      {R"({"prompt": 7, "expected_number": 1})", "prompt: wanted a text"},
      {R"({"prompt": "p"})", "expected_number: is missing"},
      {R"({"prompt": "p", "expected_number": 1.5})", "expected_number: wanted a whole number"},
      {R"({"prompt": "p", "expected_number": "1"})", "expected_number: wanted a whole number"},
      {R"({"prompt": "p", "expected_number": 1, "num_lines": "x"})",
       "num_lines: wanted a whole number"},
      {R"({"prompt": "p", "expected_number": 1, "random_idx": 3})",
       "random_idx: wanted [label, position]"},
      {"{\"prompt\": \"\xC3\x28\", \"expected_number\": 1}", "wanted a JSON object"},
  };
  const test::TemporaryFolder folder;
  for (const auto& [line, problem] : damages) {
    const std::filesystem::path path = folder.path() / "damaged.jsonl";
    const Error error = error_of([&] { open_file(path, good + good + line + "\n" + good); });
    EXPECT_EQ(error.code(), Code::invalid_argument) << line;
    EXPECT_THAT(error.message(), HasSubstr(path.string() + ":3: " + problem)) << line;
  }
}

TEST(LinesDatasetTest, UnreadableFilesAreNamed) {
  const test::TemporaryFolder folder;
  const Error absent = error_of([&] {
    lines_dataset({{"file", (folder.path() / "no.jsonl").string()}});
  });
  EXPECT_EQ(absent.code(), Code::not_found);
  EXPECT_THAT(absent.message(), HasSubstr("no.jsonl"));
  EXPECT_THAT(error_of([&] { open_file(folder.path() / "empty.jsonl", "\n\n"); }).message(),
              HasSubstr("holds no records"));

  // A compressed file that ends too soon.
  gzFile file = gzopen((folder.path() / "cut.jsonl.gz").c_str(), "wb");
  std::string text;
  for (int i = 0; i < 2000; ++i) {
    text += R"({"prompt": "p)" + std::to_string(i * 7919) +
            R"(", "expected_number": 1})"
            "\n";
  }
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  const std::string whole = read_file(folder.path() / "cut.jsonl.gz", 1 << 20);
  const Error cut = error_of(
      [&] { open_file(folder.path() / "cut.jsonl.gz", whole.substr(0, whole.size() / 2)); });
  EXPECT_EQ(cut.code(), Code::invalid_argument);
  EXPECT_THAT(cut.message(), HasSubstr("cut.jsonl.gz:"));

  EXPECT_THAT(error_of([&] {
                lines_dataset(
                    {{"file", OKAPI_TEST_DATA "/lines/longeval_200_lines.jsonl"}, {"n_lines", 5}});
              }).message(),
              HasSubstr("come from a file"));
}

// The published files where they are at hand.
TEST(LinesDatasetTest, ReadsLongEvalsWholeFiles) {
  const std::filesystem::path published = OKAPI_SOURCE_DIR "/../shared/data/longctx";
  if (!std::filesystem::exists(published)) GTEST_SKIP() << "LongEval's files are not here";
  for (int n_lines : {200, 300}) {
    const std::string name = std::to_string(n_lines) + "_lines.jsonl.gz";
    const auto dataset = lines_dataset({{"file", (published / name).string()}});
    EXPECT_EQ(dataset->count(), 50);
    for (int64_t i = 0; i < 50; ++i) {
      const Json record = dataset->record(i).json();
      const std::vector<Row> rows = rows_of(record["prompt"]);
      ASSERT_EQ(rows.size(), static_cast<size_t>(n_lines));
      EXPECT_EQ(rows[record["random_idx"][1].get<size_t>()].number, record["expected_number"]);
    }
  }
}

}  // namespace
}  // namespace okapi
