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
