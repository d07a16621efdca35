#include <okapi/tokenizer.h>

#include <cstring>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

constexpr const char* kModelFile = OKAPI_TEST_DATA "/tokenizer/savanna.model";

class TokenizerTest : public testing::Test {
 protected:
  TokenizerPtr open(const std::string& path) {
    return create<TokenizerPtr>([&](okapi_tokenizer** out, okapi_error** error) {
      return okapi_tokenizer_open(runtime_.get(), path.c_str(), out, error);
    });
  }

  std::vector<int32_t> encode(const std::string& text, uint8_t add_bos) {
    size_t n_ids = 0;
    EXPECT_EQ(try_encode(text, add_bos, nullptr, 0, &n_ids).status, OKAPI_OK);
    std::vector<int32_t> ids(n_ids);
    EXPECT_EQ(try_encode(text, add_bos, ids.data(), ids.size(), &n_ids).status, OKAPI_OK);
    EXPECT_EQ(n_ids, ids.size());
    return ids;
  }

  Outcome try_encode(const std::string& text, uint8_t add_bos, int32_t* ids, size_t capacity,
                     size_t* n_ids) {
    return call([&](okapi_error** error) {
      return okapi_tokenizer_encode(tokenizer_.get(), text.data(), text.size(), add_bos, ids,
                                    capacity, n_ids, error);
    });
  }

  std::string decode(const std::vector<int32_t>& ids) {
    return text_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
      return okapi_tokenizer_decode(tokenizer_.get(), ids.data(), ids.size(), buffer, capacity,
                                    needed, error);
    });
  }

  RuntimePtr runtime_ = make_runtime();
  TokenizerPtr tokenizer_ = open(kModelFile);
};

}  // namespace

TEST_F(TokenizerTest, EncodesAsTheLibraryItselfDoes) {
  // tests/data/tokenizer: what spm_encode and spm_decode say.
  std::ifstream file(OKAPI_TEST_DATA "/tokenizer/savanna.expected.json");
  const okapi::Json lines = okapi::Json::parse(file);
  ASSERT_GE(lines.size(), 10U);
  for (const okapi::Json& line : lines) {
    EXPECT_EQ(encode(line["text"], 0), line["ids"].get<std::vector<int32_t>>()) << line["text"];
    EXPECT_EQ(decode(line["ids"]), line["decoded"]) << line["text"];
  }
}

TEST_F(TokenizerTest, BosComesFirstIfAskedFor) {
  const std::vector<int32_t> without = encode("A lion roams.", 0);
  const std::vector<int32_t> with = encode("A lion roams.", 1);
  ASSERT_EQ(with.size(), without.size() + 1);
  EXPECT_EQ(std::vector<int32_t>(with.begin() + 1, with.end()), without);
  EXPECT_EQ(decode(with), "A lion roams.");
}

TEST_F(TokenizerTest, TextMayHoldNuls) {
  const std::string text("a\0b", 3);
  EXPECT_EQ(decode(encode(text, 0)), text);
}

TEST_F(TokenizerTest, EmptyTextHasNoIds) {
  EXPECT_TRUE(encode("", 0).empty());
  EXPECT_EQ(decode({}), "");
}

TEST_F(TokenizerTest, SmallBuffersAreOutOfRange) {
  int32_t ids[1] = {-1};
  size_t n_ids = 0;
  expect_refusal(try_encode("A lion roams.", 0, ids, 1, &n_ids), OKAPI_OUT_OF_RANGE, "ids");
  EXPECT_EQ(ids[0], encode("A lion roams.", 0)[0]);
  EXPECT_EQ(n_ids, encode("A lion roams.", 0).size());

  const std::vector<int32_t> all = encode("lion", 0);
  char buffer[3];
  expect_refusal(call([&](okapi_error** error) {
                   return okapi_tokenizer_decode(tokenizer_.get(), all.data(), all.size(), buffer,
                                                 sizeof buffer, nullptr, error);
                 }),
                 OKAPI_OUT_OF_RANGE, "buffer");
  EXPECT_STREQ(buffer, "li");
}

TEST_F(TokenizerTest, BadArgumentsAreNamed) {
  size_t n_ids = 0;
  expect_refusal(try_encode("x", 2, nullptr, 0, &n_ids), OKAPI_INVALID_ARGUMENT, "add_bos");
  const int32_t ids[] = {5, okapi_tokenizer_vocab_size(tokenizer_.get())};
  expect_refusal(call([&](okapi_error** error) {
                   return okapi_tokenizer_decode(tokenizer_.get(), ids, 2, nullptr, 0, nullptr,
                                                 error);
                 }),
                 OKAPI_INVALID_ARGUMENT, "ids[1]");
}

TEST_F(TokenizerTest, FolderOrFileMayBeOpened) {
  const TemporaryFolder folder;
  std::filesystem::copy_file(kModelFile, folder.path() / "tokenizer.model");
  EXPECT_EQ(okapi_tokenizer_vocab_size(open(folder.path().string()).get()), kVocabSize);
}

TEST_F(TokenizerTest, MissingAndDamagedFilesAreErrors) {
  const TemporaryFolder folder;
  const auto status = [&](const std::filesystem::path& path) {
    okapi_tokenizer* tokenizer = nullptr;
    const Outcome outcome = call([&](okapi_error** error) {
      return okapi_tokenizer_open(runtime_.get(), path.c_str(), &tokenizer, error);
    });
    EXPECT_EQ(tokenizer, nullptr);
    return outcome.status;
  };
  EXPECT_EQ(status(folder.path()), OKAPI_NOT_FOUND);
  EXPECT_EQ(status(folder.path() / "missing.model"), OKAPI_NOT_FOUND);
  EXPECT_EQ(status(folder.write("bad.model", "not a model")), OKAPI_DATA_LOSS);
}

TEST_F(TokenizerTest, DescribesItself) {
  const okapi::Json json =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_tokenizer_describe(tokenizer_.get(), buffer, capacity, needed, error);
      });
  EXPECT_EQ(json["vocab_size"], kVocabSize);
  EXPECT_EQ(json["path"], kModelFile);
  EXPECT_EQ(json["sha256"].get<std::string>().size(), 64U);
}

TEST_F(TokenizerTest, AModelsTokenizerOutlivesTheModel) {
  const TemporaryFolder folder;
  write_model(folder.path());
  ModelPtr model = open_model(runtime_.get(), folder.path());
  tokenizer_ = create<TokenizerPtr>([&](okapi_tokenizer** out, okapi_error** error) {
    return okapi_model_get_tokenizer(model.get(), out, error);
  });
  model.reset();
  runtime_.reset();
  EXPECT_EQ(decode(encode("A lion roams.", 1)), "A lion roams.");
}

TEST_F(TokenizerTest, ARandomModelHasNone) {
  const ModelPtr model = make_random_model(runtime_.get());
  okapi_tokenizer* tokenizer = nullptr;
  EXPECT_EQ(call([&](okapi_error** error) {
              return okapi_model_get_tokenizer(model.get(), &tokenizer, error);
            }).status,
            OKAPI_NOT_FOUND);
  EXPECT_EQ(tokenizer, nullptr);
}

TEST_F(TokenizerTest, ReferencesAreCounted) {
  const TokenizerPtr second(okapi_tokenizer_ref(tokenizer_.get()));
  tokenizer_.reset();
  EXPECT_EQ(okapi_tokenizer_vocab_size(second.get()), kVocabSize);
  EXPECT_EQ(okapi_tokenizer_vocab_size(nullptr), 0);
}
