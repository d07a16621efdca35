#include <random>

#include "tests/plugins/datasets/corpus_files.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

std::vector<std::string> texts_of(const Dataset& dataset) {
  std::vector<std::string> texts;
  for (int64_t i = 0; i < dataset.count(); ++i) texts.push_back(dataset.record(i).json()["text"]);
  return texts;
}

std::string red_pajama(const std::vector<std::string>& texts) {
  std::string lines;
  for (const std::string& text : texts) {
    lines +=
        Json{{"text", text}, {"meta", {{"url", "http://example.org"}}}, {"red_pajama_subset", "c4"}}
            .dump() +
        "\n";
  }
  return lines;
}

const std::vector<std::string> kTexts = {"one", "two\nlines", "caf\u00e9 \U0001F600", "",
                                         "five \"quoted\" \\"};

TEST(JsonlDatasetTest, ReadsRedPajamasRecordsHoweverTheyArePacked) {
  const TemporaryFolder folder;
  const std::string plain = red_pajama(kTexts);
  const std::vector<std::string> wanted = {kTexts[0], kTexts[1], kTexts[2],
                                           kTexts[4]};  // none is empty
  const std::pair<const char*, std::string> files[] = {
      {"a.jsonl", plain},
      {"a.jsonl.gz", gzipped(plain)},
      {"a.jsonl.zst", zstandard(plain)},
      {"unpacked.gz", plain},  // known by its bytes, not its name
      {"several.gz", gzipped(plain.substr(0, 40)) + gzipped(plain.substr(40))},
      {"several.zst", zstandard(plain.substr(0, 40)) + zstandard("") + zstandard(plain.substr(40))},
      {"no_end.jsonl", plain.substr(0, plain.size() - 1)},
      {"blank.jsonl", "\n  \n" + plain + "\r\n\n"},
  };
  for (const auto& [name, bytes] : files) {
    const auto dataset = open_dataset("jsonl", {{"path", folder.write(name, bytes).string()}});
    EXPECT_EQ(texts_of(*dataset), wanted) << name;
  }
}

TEST(JsonlDatasetTest, RecordsComeInAnyOrder) {
  const TemporaryFolder folder;
  std::vector<std::string> texts;
  for (int i = 0; i < 3000; ++i)
    texts.push_back(std::string(static_cast<size_t>(i % 977), 'x') + std::to_string(i));
  for (const std::string& bytes :
       {red_pajama(texts), gzipped(red_pajama(texts)), zstandard(red_pajama(texts))}) {
    const auto dataset = open_dataset("jsonl", {{"path", folder.write("many", bytes).string()}});
    ASSERT_EQ(dataset->count(), 3000);
    for (int64_t i = 2999; i >= 0; i -= 7) {
      const Json record = dataset->record((i * 31) % 3000).json();
      const auto n = static_cast<size_t>((i * 31) % 3000);
      EXPECT_EQ(record["text"], texts[n]);
      EXPECT_EQ(record["kind"], "text");
      EXPECT_THAT(record["source"].get<std::string>(), HasSubstr("many:" + std::to_string(n + 1)));
    }
  }
}

// Giraffe keeps documents of more than 20480 characters and fewer than a million.
TEST(JsonlDatasetTest, FiltersByCharactersNotBytes) {
  const TemporaryFolder folder;
  const std::string e = "\u00e9";
  const auto path =
      folder.write("a.jsonl", red_pajama({e + e, e + e + e, "abc", "abcd", "abcdefgh"}));
  const auto kept = [&](const Json& limits) {
    Json params = {{"path", path.string()}};
    params.update(limits);
    return texts_of(*open_dataset("jsonl", params));
  };
  EXPECT_EQ(kept({{"min_characters", 3}}),
            (std::vector<std::string>{e + e + e, "abc", "abcd", "abcdefgh"}));
  EXPECT_EQ(kept({{"min_characters", 3}, {"max_characters", 4}}),
            (std::vector<std::string>{e + e + e, "abc", "abcd"}));
  EXPECT_EQ(kept({{"max_characters", 2}}), (std::vector<std::string>{e + e}));
  const Error none = error_of([&] { kept({{"min_characters", 100}}); });
  EXPECT_THAT(none.full_message(), HasSubstr("a.jsonl: holds no documents"));
  const Error crossed = error_of([&] { kept({{"min_characters", 5}, {"max_characters", 4}}); });
  EXPECT_EQ(crossed.field_name(), "max_characters");
}

TEST(JsonlDatasetTest, AFolderIsItsFilesInOrderOfTheirNames) {
  const TemporaryFolder folder;
  folder.write("c/b.jsonl.gz", gzipped(red_pajama({"3"})));
  folder.write("c/a.jsonl", red_pajama({"1", "2"}));
  folder.write("d.jsonl.zst", zstandard(red_pajama({"4"})));
  folder.write("c/.hidden", "no JSON");
  folder.write("c/notes.txt", "no JSON");
  const Json params = {{"path", folder.path().string()}, {"suffix", ".jsonl"}};
  EXPECT_EQ(texts_of(*open_dataset("jsonl", params)), (std::vector<std::string>{"1", "2"}));
  std::filesystem::remove(folder.path() / "c" / "notes.txt");
  EXPECT_EQ(texts_of(*open_dataset("jsonl", {{"path", folder.path().string()}})),
            (std::vector<std::string>{"1", "2", "3", "4"}));
  const Error none = error_of([&] {
    open_dataset("jsonl", {{"path", folder.path().string()}, {"suffix", ".parquet"}});
  });
  EXPECT_THAT(none.full_message(), HasSubstr("end in .parquet"));
}

TEST(JsonlDatasetTest, OtherFieldsCanBeTheDocument) {
  const TemporaryFolder folder;
  const auto path = folder.write("a.jsonl", "{\"content\": \"yes\", \"text\": \"no\"}\n");
  const auto dataset = open_dataset("jsonl", {{"path", path.string()}, {"field", "content"}});
  EXPECT_EQ(dataset->record(0).json()["text"], "yes");
}

TEST(JsonlDatasetTest, WhatIsWrongIsToldWithFileAndLine) {
  const TemporaryFolder folder;
  const std::string good = red_pajama({"one", "two"});
  const struct {
    std::string bytes;
    std::string says;
  } cases[] = {
      {good + "{\"text\": \"thr\n", "bad.jsonl:3: wanted a JSON object"},
      {good + "\n[1]\n", "bad.jsonl:4: wanted a JSON object, found array"},
      {good + "{\"meta\": 1}\n", "bad.jsonl:3: text: is missing"},
      {good + "{\"text\": 7}\n", "bad.jsonl:3: text: wanted text, found number"},
      {good + "{\"text\": \"\xC3\x28\"}\n", "bad.jsonl:3: is not UTF-8 at byte 10"},
      {good + "{\"text\": \"\xED\xA0\x80\"}\n", "bad.jsonl:3: is not UTF-8"},
      {"", "bad.jsonl: holds no documents"},
  };
  for (const auto& tried : cases) {
    EXPECT_THAT(message_of("jsonl", folder, "bad.jsonl", tried.bytes), HasSubstr(tried.says));
  }
  EXPECT_THAT(error_of([&] {
                open_dataset("jsonl", {{"path", "no/such/file"}});
              }).full_message(),
              HasSubstr("no/such/file: cannot open"));
  EXPECT_EQ(error_of([&] { open_dataset("jsonl", Json::object()); }).field_name(), "path");
}

TEST(JsonlDatasetTest, DamagedPackingIsToldWithTheFile) {
  const TemporaryFolder folder;
  std::mt19937 random(1);  // text that does not shrink to nothing
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += static_cast<char>('a' + random() % 26);
  const std::string lines = red_pajama({text, text.substr(100)});
  for (const std::string& packed : {gzipped(lines), zstandard(lines)}) {
    for (const size_t n : {packed.size() / 2, packed.size() - 3, packed.size() - 1}) {
      const std::string message = message_of("jsonl", folder, "cut", packed.substr(0, n));
      EXPECT_THAT(message, HasSubstr("/cut: ")) << message;
      EXPECT_THAT(message, HasSubstr("cut off")) << message;
    }
    std::string damaged = packed;
    for (size_t i = damaged.size() / 2; i < damaged.size() / 2 + 40; ++i)
      damaged[i] = static_cast<char>(~damaged[i]);
    const Error error = error_of([&] {
      open_dataset("jsonl", {{"path", folder.write("damaged", damaged).string()}});
    });
    EXPECT_THAT(error.full_message(), HasSubstr("/damaged")) << error.full_message();
  }
}

TEST(JsonlDatasetTest, AFileThatShrinksLaterIsAnErrorNotACrash) {
  const TemporaryFolder folder;
  const auto path = folder.write("a.jsonl", red_pajama({"one", "two", "three"}));
  const auto dataset = open_dataset("jsonl", {{"path", path.string()}});
  std::filesystem::resize_file(path, 20);
  EXPECT_THAT(error_of([&] { dataset->record(2); }).full_message(),
              HasSubstr("a.jsonl:3: the file has become shorter"));
}

TEST(JsonlDatasetTest, NothingIsLeftInTheSpoolFolder) {
  const TemporaryFolder folder;
  const TemporaryFolder spool;
  const auto path = folder.write("a.jsonl.gz", gzipped(red_pajama({"one", "two"})));
  const auto dataset =
      open_dataset("jsonl", {{"path", path.string()}, {"spool", spool.path().string()}});
  EXPECT_EQ(texts_of(*dataset).size(), 2U);
  EXPECT_TRUE(std::filesystem::is_empty(spool.path()));
  const Error error = error_of([&] {
    open_dataset("jsonl", {{"path", path.string()}, {"spool", (spool.path() / "none").string()}});
  });
  EXPECT_THAT(error.full_message(), HasSubstr("none: cannot make a file for unpacked data"));
}

}  // namespace
}  // namespace okapi::test
