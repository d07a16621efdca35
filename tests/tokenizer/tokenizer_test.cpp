#include "runtime/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "tests/tokenizer/tokenizer_support.h"

namespace okapi::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

void expect_equals_sentencepiece(const Tokenizer& tokenizer, const Json& cases) {
  ASSERT_FALSE(cases.empty());
  for (const Json& entry : cases) {
    const auto text = entry.at("text").get<std::string>();
    const auto ids = entry.at("ids").get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.encode(text, false), ids) << text;
    EXPECT_EQ(tokenizer.decode(ids), entry.at("decoded").get<std::string>()) << text;
  }
}

TEST(TokenizerTest, EqualsSentencepieceOnABpeModelWithByteFallback) {
  expect_equals_sentencepiece(*open_tokenizer(tokenizer_data("savanna.model")),
                              parse_json_file(tokenizer_data("savanna.expected.json"), "test"));
}

TEST(TokenizerTest, EqualsSentencepieceOnAUnigramModelWithNormalization) {
  expect_equals_sentencepiece(*open_tokenizer(tokenizer_data("small.model")),
                              parse_json_file(tokenizer_data("small.expected.json"), "test"));
}

// Llama's own model may not be copied into the project, so this runs only where it lies beside it.
TEST(TokenizerTest, EqualsSentencepieceOnLlamasModel) {
  const std::filesystem::path folder =
      std::filesystem::path(OKAPI_SOURCE_DIR) / ".." / "shared" / "golden" / "tokenizer";
  if (!std::filesystem::exists(folder / "llama.model")) GTEST_SKIP() << "no llama.model here";
  expect_equals_sentencepiece(*open_tokenizer(folder / "llama.model"),
                              parse_json_file(folder / "llama.expected.json", "test"));
}

TEST(TokenizerTest, TellsItsSizeSpecialIdsAndPieces) {
  const auto tokenizer = open_tokenizer(tokenizer_data("savanna.model"));
  EXPECT_EQ(tokenizer->vocab_size(), 1024);
  EXPECT_EQ(tokenizer->unk_id(), 0);
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_EQ(tokenizer->pad_id(), -1);
  EXPECT_EQ(tokenizer->piece(1), "<s>");
  EXPECT_EQ(tokenizer->piece(4), "<0x00>");
  EXPECT_TRUE(tokenizer->is_control(1));
  EXPECT_FALSE(tokenizer->is_control(3));
  EXPECT_EQ(tokenizer->sha256().size(), 64U);
}

TEST(TokenizerTest, PutsTheBeginningFirstOnlyWhenAsked) {
  const auto tokenizer = open_tokenizer(tokenizer_data("savanna.model"));
  EXPECT_THAT(tokenizer->encode("", true), ElementsAre(1));
  EXPECT_THAT(tokenizer->encode("", false), ElementsAre());
  std::vector<int32_t> plain = tokenizer->encode("Hello", false);
  plain.insert(plain.begin(), 1);
  EXPECT_EQ(tokenizer->encode("Hello", true), plain);
}

TEST(TokenizerTest, ReadsTextThatSpellsAControlPieceAsText) {
  const auto tokenizer = open_tokenizer(tokenizer_data("savanna.model"));
  const std::vector<int32_t> ids = tokenizer->encode("<s></s>", false);
  EXPECT_THAT(ids, testing::Each(testing::Gt(2)));
  EXPECT_EQ(tokenizer->decode(ids), "<s></s>");
}

TEST(TokenizerTest, DecodesControlPiecesToNothing) {
  const auto tokenizer = open_tokenizer(tokenizer_data("savanna.model"));
  std::vector<int32_t> ids = tokenizer->encode("Hello", true);
  ids.push_back(tokenizer->eos_id());
  EXPECT_EQ(tokenizer->decode(ids), "Hello");
}

// A model's embedding may be padded to more rows than there are pieces.
TEST(TokenizerTest, GivesNothingForOutputPastTheLastPiece) {
  const auto tokenizer = open_tokenizer(tokenizer_data("savanna.model"));
  std::vector<int32_t> ids = tokenizer->encode("Hello", false);
  ids.insert(ids.begin() + 1, static_cast<int32_t>(tokenizer->vocab_size()));
  EXPECT_EQ(tokenizer->decode_output(ids), "Hello");
  EXPECT_THROW(tokenizer->decode_output(std::vector<int32_t>{-1}), Error);
}

TEST(TokenizerTest, RefusesIdsOutOfRange) {
  const auto tokenizer = open_tokenizer(tokenizer_data("savanna.model"));
  for (const int32_t id : {-1, 1024, 2147483647}) {
    try {
      tokenizer->decode(std::vector<int32_t>{id});
      ADD_FAILURE() << id;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::out_of_range);
      EXPECT_THAT(error.message(), HasSubstr(std::to_string(id)));
    }
    EXPECT_THROW(tokenizer->piece(id), Error);
    EXPECT_THROW(tokenizer->is_control(id), Error);
  }
}

TEST(TokenizerTest, NamesEveryPlaceItLookedForTheModule) {
  try {
    Tokenizer::open(tokenizer_data("savanna.model"), {"/nowhere/one", "/nowhere/two"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::not_found);
    EXPECT_THAT(error.message(), HasSubstr("/nowhere/one/okapi_tokenizer_sentencepiece.so"));
    EXPECT_THAT(error.message(), HasSubstr("/nowhere/two/okapi_tokenizer_sentencepiece.so"));
  }
}

/// A random text of code points from every plane, without U+2581: sentencepiece writes spaces so,
/// and cannot tell the two apart.
std::string random_text(Random& random) {
  std::string text;
  const int64_t length = random.uniform_int(0, 40);
  for (int64_t i = 0; i < length; ++i) {
    uint32_t point = 0;
    switch (random.uniform_int(0, 4)) {
      case 0:
        point = static_cast<uint32_t>(random.uniform_int(0, 0x7F));
        break;
      case 1:
        point = ' ';
        break;
      case 2:
        point = static_cast<uint32_t>(random.uniform_int(0x80, 0x7FF));
        break;
      case 3:
        point = static_cast<uint32_t>(random.uniform_int(0x800, 0xD7FF));
        break;
      case 4:
        point = static_cast<uint32_t>(random.uniform_int(0x10000, 0x10FFFF));
        break;
    }
    if (point == 0x2581) continue;
    const auto byte = [&text](uint32_t value) { text += static_cast<char>(value); };
    if (point < 0x80) {
      byte(point);
    } else if (point < 0x800) {
      byte(0xC0 | point >> 6);
      byte(0x80 | (point & 0x3F));
    } else if (point < 0x10000) {
      byte(0xE0 | point >> 12);
      byte(0x80 | (point >> 6 & 0x3F));
      byte(0x80 | (point & 0x3F));
    } else {
      byte(0xF0 | point >> 18);
      byte(0x80 | (point >> 12 & 0x3F));
      byte(0x80 | (point >> 6 & 0x3F));
      byte(0x80 | (point & 0x3F));
    }
  }
  return text;
}

TEST(TokenizerTest, DecodingWhatItEncodedGivesTheTextBack) {
  const auto tokenizer = open_tokenizer(tokenizer_data("savanna.model"));
  Random random(1);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = random_text(random);
    ASSERT_EQ(tokenizer->decode(tokenizer->encode(text, i % 2 == 0)), text);
  }
}

}  // namespace
}  // namespace okapi::test
