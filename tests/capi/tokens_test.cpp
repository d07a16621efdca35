#include <okapi/tokens.h>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

class TokensTest : public testing::Test {
 protected:
  std::string config() const {
    return okapi::Json{
        {"dataset", "text"},
        {"params", {{"path", (folder_.path() / "a.txt").string()}, {"document", "line"}}}}
        .dump();
  }

  Outcome prepare(const std::string& config, const okapi_tokens_options* options = nullptr) {
    return call([&](okapi_error** error) {
      return okapi_tokens_prepare(runtime_.get(), tokenizer_.get(), config.c_str(), out_.c_str(),
                                  options, error);
    });
  }

  okapi::Json describe(uint8_t verify) {
    return okapi::Json::parse(
        text_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
          return okapi_tokens_describe(runtime_.get(), out_.c_str(), verify, buffer, capacity,
                                       needed, error);
        }));
  }

  TemporaryFolder folder_;
  std::string out_ = (folder_.path() / "a.tokens").string();
  std::filesystem::path text_ = folder_.write("a.txt", "one two\nthree\nfour five six\n");
  RuntimePtr runtime_ = make_runtime();
  TokenizerPtr tokenizer_ = create<TokenizerPtr>([&](okapi_tokenizer** out, okapi_error** error) {
    return okapi_tokenizer_open(runtime_.get(), OKAPI_TEST_DATA "/tokenizer/savanna.model", out,
                                error);
  });
};

}  // namespace

TEST_F(TokensTest, AFileHoldsWhatItsDescriptionSays) {
  EXPECT_EQ(prepare(config()).status, OKAPI_OK);
  size_t n_tokens = 0;
  for (const char* text : {"one two", "three", "four five six"}) {
    size_t n = 0;
    EXPECT_EQ(okapi_tokenizer_encode(tokenizer_.get(), text, std::strlen(text), 1, nullptr, 0, &n,
                                     nullptr),
              OKAPI_OK);
    n_tokens += n;
  }
  const okapi::Json about = describe(1);
  EXPECT_EQ(about["n_documents"], 3);
  EXPECT_EQ(about["n_tokens"], n_tokens);
  EXPECT_EQ(about["n_learned"], n_tokens - 3);  // all but each BOS
  EXPECT_EQ(about["dataset"]["count"], 3);
  EXPECT_EQ(about["documents"]["bos"], true);
}

TEST_F(TokensTest, ProgressIsHeardAndCancelLeavesNothing) {
  struct Heard {
    int64_t done = 0;
    int64_t total = 0;
  } heard;
  okapi_tokens_options options = OKAPI_TOKENS_OPTIONS_INIT;
  options.progress = [](const okapi_progress* progress, void* user_data) {
    *static_cast<Heard*>(user_data) = {progress->done, progress->total};
  };
  options.progress_user_data = &heard;
  EXPECT_EQ(prepare(config(), &options).status, OKAPI_OK);
  EXPECT_EQ(heard.done, 3);
  EXPECT_EQ(heard.total, 3);

  std::filesystem::remove(out_);
  const CancelPtr cancel = create<CancelPtr>(
      [](okapi_cancel** out, okapi_error** error) { return okapi_cancel_create(out, error); });
  okapi_cancel_request(cancel.get());
  options.cancel = cancel.get();
  EXPECT_EQ(prepare(config(), &options).status, OKAPI_CANCELLED);
  EXPECT_FALSE(std::filesystem::exists(out_));
  okapi_cancel_reset(cancel.get());
  EXPECT_EQ(prepare(config(), &options).status, OKAPI_OK);
}

TEST_F(TokensTest, WhatIsWrongIsNamed) {
  EXPECT_EQ(prepare("{").field(), "config");
  const Outcome unknown = prepare(R"({"dataset": "text", "lenght": 3})");
  EXPECT_EQ(unknown.status, OKAPI_INVALID_ARGUMENT);
  EXPECT_THAT(unknown.message(), testing::HasSubstr("did you mean length?"));
  folder_.write("a.txt", "fine\nnot \xFF\n");
  EXPECT_THAT(prepare(config()).message(), testing::HasSubstr("a.txt:2: is not UTF-8"));
  folder_.write("a.tokens",
                "this is no token file, and it is long enough to have had a footer of its own, "
                "which takes a hundred and seventy-six bytes besides the sixteen of the head, "
                "so here are some more of them to pass the check of the size.");
  const Outcome foreign = call([&](okapi_error** error) {
    return okapi_tokens_describe(runtime_.get(), out_.c_str(), 0, nullptr, 0, nullptr, error);
  });
  EXPECT_EQ(foreign.status, OKAPI_DATA_LOSS);
  EXPECT_THAT(foreign.message(), testing::HasSubstr("OKAPITOK"));
}
