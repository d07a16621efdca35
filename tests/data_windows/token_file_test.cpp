#include "runtime/data/token_file.h"

#include <cstring>

#include "runtime/base/file.h"
#include "tests/data_windows/fixture.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

std::filesystem::path corpus(const TemporaryFolder& folder) {
  std::string lines;
  for (int i = 0; i < 40; ++i) {
    std::string text = "Paragraph " + std::to_string(i) + ":";
    for (int k = 0; k < 5 + i; ++k) text += " word" + std::to_string(k);
    lines += Json{{"text", text}}.dump() + "\n";
  }
  return folder.write("corpus.jsonl", lines);
}

Json making(const std::filesystem::path& path) {
  return {
      {"dataset", "jsonl"}, {"params", {{"path", path.string()}}}, {"bos", "none"}, {"eos", true}};
}

void prepare(const Json& config, const std::filesystem::path& out,
             const std::shared_ptr<const Tokenizer>& tokenizer = savanna_tokenizer()) {
  prepare_tokens(config, tokenizer, lines_host(), 1, out);
}

TEST(TokenFileTest, APreparedFileEqualsTheLiveDataset) {
  const TemporaryFolder folder;
  const auto path = corpus(folder);
  const auto out = folder.path() / "corpus.tokens";
  prepare(making(path), out);

  for (const Json& windows :
       {Json{{"length", 24}, {"overlap", 12}, {"holdout", 5}}, Json{{"length", 24}, {"pack", true}},
        Json{{"length", 9}, {"shuffle", false}, {"holdout", 0.1}}}) {
    Json live = making(path);
    live.update(windows);
    Json prepared = {{"tokens", out.string()}};
    prepared.update(windows);
    const WindowSources one = open(live, 5);
    const WindowSources two = open(prepared, 5);
    EXPECT_EQ(one.training->describe()["tokens_sha256"], two.training->describe()["tokens_sha256"]);
    for (const auto& [a, b] :
         {std::pair{one.training, two.training}, {one.validation, two.validation}}) {
      ASSERT_EQ(a == nullptr, b == nullptr);
      if (a == nullptr) continue;
      ASSERT_EQ(a->count(), b->count());
      for (int64_t i = 0; i < a->count(); ++i) {
        const TokenWindow x = a->window(i);
        const TokenWindow y = b->window(i);
        EXPECT_EQ(x.ids, y.ids);
        EXPECT_EQ(x.learned, y.learned);
      }
    }
  }
}

TEST(TokenFileTest, ConversationsKeepTheirMasks) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "chats.tokens";
  const Json making = {
      {"dataset", "conversations"},
      {"params", {{"path", OKAPI_TEST_DATA "/conversations/fastchat_excerpt.json"}}},
      {"length", 256}};
  prepare(making, out);
  const auto live = open(making).training;
  const auto prepared = open({{"tokens", out.string()}, {"length", 256}}).training;
  ASSERT_EQ(live->count(), prepared->count());
  for (int64_t i = 0; i < live->count(); ++i) {
    EXPECT_EQ(live->window(i).learned, prepared->window(i).learned);
  }
  const Error error = error_of([&] { open({{"tokens", out.string()}, {"length", 128}}); });
  EXPECT_THAT(error.full_message(), HasSubstr("split to 256 tokens"));
}

TEST(TokenFileTest, AnotherTokenizerIsRefused) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "corpus.tokens";
  prepare(making(corpus(folder)), out, small_tokenizer());
  const Error error = error_of([&] { open({{"tokens", out.string()}, {"length", 8}}); });
  EXPECT_EQ(error.code(), Code::failed_precondition);
  EXPECT_THAT(error.full_message(), HasSubstr(savanna_tokenizer()->sha256()));
  EXPECT_THAT(error.full_message(), HasSubstr(small_tokenizer()->sha256()));
}

TEST(TokenFileTest, WhatIsCutOffOrForeignIsRefused) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "corpus.tokens";
  prepare(making(corpus(folder)), out);
  const std::string whole = read_file(out, 1 << 20);
  ASSERT_NO_THROW(open_token_file(out)->verify());
  for (size_t n = 1; n < whole.size(); n += 1 + whole.size() / 97) {
    const auto part = folder.write("part.tokens", whole.substr(0, n));
    const Error error = error_of([&] { open_token_file(part); });
    EXPECT_EQ(error.code(), Code::data_loss) << n;
    EXPECT_EQ(error.file(), part.string());
  }
  const Error text = error_of([&] { open_token_file(folder.write("x", std::string(5000, 'x'))); });
  EXPECT_THAT(text.message(), HasSubstr("OKAPITOK"));
  const Error cut =
      error_of([&] { open_token_file(folder.write("cut", whole.substr(0, whole.size() - 8))); });
  EXPECT_THAT(cut.message(), HasSubstr("cut off"));
}

// Any byte of the index or the footer is told on opening, one of the tokens on verifying.
TEST(TokenFileTest, ADamagedByteIsFound) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "corpus.tokens";
  prepare(making(corpus(folder)), out);
  const std::string whole = read_file(out, 1 << 20);
  const auto store = open_token_file(out);
  const auto index_begin = static_cast<size_t>(16 + store->n_tokens() * 2);
  size_t n_opened = 0;
  for (size_t at = 0; at < whole.size(); at += 13) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    const auto path = folder.write("damaged.tokens", damaged);
    const Error error = error_of([&] {
      const auto opened = open_token_file(path);
      ++n_opened;
      EXPECT_LT(at, index_begin + 8) << at;
      opened->verify();
      if (at >= index_begin) throw Error(Code::data_loss, "zeros between the parts");
    });
    EXPECT_EQ(error.code(), Code::data_loss) << at;
  }
  EXPECT_GT(n_opened, 10U);
}

TEST(TokenFileTest, AFailureLeavesTheOldFile) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "corpus.tokens";
  prepare(making(corpus(folder)), out);
  const std::string before = read_file(out, 1 << 20);
  CancelToken cancel;
  DataOptions options;
  options.cancel = &cancel;
  options.progress = [&](int64_t done, int64_t) {
    if (done == 10) cancel.request();
  };
  Json config = making(corpus(folder));
  config["eos"] = false;
  const Error error =
      error_of([&] { prepare_tokens(config, savanna_tokenizer(), lines_host(), 1, out, options); });
  EXPECT_EQ(error.code(), Code::cancelled);
  EXPECT_EQ(read_file(out, 1 << 20), before);
  int n_files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path()))
    ++n_files;
  EXPECT_EQ(n_files, 2);  // the corpus and the tokens, nothing half written
}

TEST(TokenFileTest, KeysOfWindowsAndEndlessDatasetsAreRefused) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "x.tokens";
  Json config = making(corpus(folder));
  config["overlap"] = 3;
  EXPECT_THAT(error_of([&] { prepare(config, out); }).full_message(),
              HasSubstr("overlap: has no effect"));
  const Json endless = {{"dataset", "lines"},
                        {"params", {{"training", true}, {"style", "compact"}, {"length", 64}}}};
  EXPECT_THAT(error_of([&] { prepare(endless, out); }).full_message(), HasSubstr("never ends"));
  EXPECT_FALSE(std::filesystem::exists(out));
}

// Ids take two bytes while they can.
TEST(TokenFileTest, TokensOfALargeVocabularyTakeFourBytes) {
  const TemporaryFolder folder;
  for (const int32_t vocab_size : {1 << 16, (1 << 16) + 1}) {
    TokenDocument document;
    for (const int32_t id : {0, 1, 65'535, vocab_size - 1}) document.append_one(id, true);
    const auto path = folder.path() / "t";
    write_token_file(path, vocab_size, [&](TokenStoreBuilder& builder) {
      builder.add(document, 3);
      builder.add(document, 4);
      return Json::object();
    });
    const auto store = open_token_file(path);
    store->verify();
    TokenWindow window;
    store->append(1, 0, 4, window);
    EXPECT_EQ(window.ids, document.ids);
    EXPECT_EQ(store->record(1), 4);
  }
}

}  // namespace
}  // namespace okapi::test
