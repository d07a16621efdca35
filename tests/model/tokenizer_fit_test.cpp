#include "runtime/model/tokenizer_fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"

namespace okapi::test {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

std::shared_ptr<const Tokenizer> savanna() {
  return Tokenizer::open(std::filesystem::path(OKAPI_TEST_DATA) / "tokenizer" / "savanna.model",
                         {std::filesystem::path(OKAPI_BUILD_LIB) / "okapi" / "tokenizers"});
}

ModelConfig fitting() {
  ModelConfig config;
  config.vocab_size = 1024;
  config.bos_id = 1;
  config.eos_id = 2;
  config.eos_ids = {2};
  return config;
}

TEST(TokenizerFitTest, AcceptsTheModelsOwnTokenizer) {
  EXPECT_THAT(check_tokenizer_fits(fitting(), *savanna()), IsEmpty());
  ModelConfig padded = fitting();
  padded.vocab_size = 1088;
  EXPECT_THAT(check_tokenizer_fits(padded, *savanna()), IsEmpty());
}

TEST(TokenizerFitTest, RefusesMoreIdsThanEmbeddings) {
  ModelConfig config = fitting();
  config.vocab_size = 1023;
  try {
    check_tokenizer_fits(config, *savanna());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.field_name(), "vocab_size");
    EXPECT_THAT(error.file(), testing::HasSubstr("savanna.model"));
  }
}

TEST(TokenizerFitTest, NotesSpecialIdsThatDiffer) {
  ModelConfig config = fitting();
  config.bos_id = 5;
  config.eos_ids = {7, 9};
  EXPECT_THAT(check_tokenizer_fits(config, *savanna()), SizeIs(2));
  config.eos_ids = {7, 2};
  EXPECT_THAT(check_tokenizer_fits(config, *savanna()), SizeIs(1));
}

}  // namespace
}  // namespace okapi::test
