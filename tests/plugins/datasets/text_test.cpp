#include <algorithm>

#include "tests/plugins/datasets/corpus_files.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

TEST(TextDatasetTest, EachFileIsADocument) {
  const TemporaryFolder folder;
  folder.write("b.txt.gz", gzipped("second\n\nhas lines\n"));
  folder.write("a.txt", "first");
  folder.write("c.txt.zst", zstandard("third"));
  folder.write("d.txt", "");  // an empty file is none
  const auto dataset = open_dataset("text", {{"path", folder.path().string()}});
  ASSERT_EQ(dataset->count(), 3);
  EXPECT_EQ(dataset->record(2).json()["text"], "third");
  EXPECT_EQ(dataset->record(0).json()["text"], "first");
  EXPECT_EQ(dataset->record(1).json()["text"], "second\n\nhas lines\n");
  EXPECT_EQ(dataset->record(1).json()["kind"], "text");
}

TEST(TextDatasetTest, OrEachLine) {
  const TemporaryFolder folder;
  const auto path = folder.write("a.txt", "one\n\n two \r\nthree");
  const auto dataset = open_dataset("text", {{"path", path.string()}, {"document", "line"}});
  ASSERT_EQ(dataset->count(), 3);
  EXPECT_EQ(dataset->record(0).json()["text"], "one");
  EXPECT_EQ(dataset->record(1).json()["text"], " two ");
  EXPECT_EQ(dataset->record(2).json()["text"], "three");
  EXPECT_THAT(dataset->record(2).json()["source"].get<std::string>(), HasSubstr("a.txt:4"));
}

// So that a part of one long text can be held out.
TEST(TextDatasetTest, OrPartsThatTogetherAreTheFile) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 500; ++i) text += std::string(static_cast<size_t>(i % 60), 'x') + "\n";
  for (const std::string& end : {std::string(), std::string("the last line has no end")}) {
    for (const std::string& bytes : {text + end, gzipped(text + end)}) {
      const auto path = folder.write("a", bytes).string();
      const auto dataset =
          open_dataset("text", {{"path", path}, {"document", "part"}, {"part_bytes", 1000}});
      std::string all;
      for (int64_t i = 0; i < dataset->count(); ++i) {
        const Json record = dataset->record(i).json();
        const std::string part = record["text"];
        const auto line = 1 + std::count(all.begin(), all.end(), '\n');
        EXPECT_EQ(record["source"], path + ":" + std::to_string(line));
        if (i + 1 < dataset->count()) {
          EXPECT_EQ(part.back(), '\n');
          EXPECT_GE(part.size(), 1000U);
          EXPECT_LT(part.size(), 1060U);
        }
        all += part;
      }
      EXPECT_EQ(all, text + end);
    }
  }
  const auto path = folder.write("a", text).string();
  EXPECT_EQ(error_of([&] {
              open_dataset("text", {{"path", path}, {"part_bytes", 9}});
            }).field_name(),
            "part_bytes");
}

TEST(TextDatasetTest, ALargePackedFileIsWhole) {
  const TemporaryFolder folder;
  std::string text;
  while (text.size() < 3'000'000)
    text += "line " + std::to_string(text.size() * 7919 % 100'003) + "\n";
  for (const std::string& packed : {gzipped(text), zstandard(text)}) {
    const auto dataset = open_dataset("text", {{"path", folder.write("a", packed).string()}});
    EXPECT_EQ(dataset->record(0).json()["text"].get<std::string>(), text);
  }
}

TEST(TextDatasetTest, BytesThatAreNoTextAreToldWithTheirLine) {
  const TemporaryFolder folder;
  EXPECT_THAT(message_of("text", folder, "a.txt", "one\ntwo\nthr\xFF\n"),
              HasSubstr("a.txt:3: is not UTF-8"));
  EXPECT_THAT(message_of("text", folder, "a.txt", "x", {{"suffix", ".gz"}}), HasSubstr("suffix"));
}

}  // namespace
}  // namespace okapi::test
