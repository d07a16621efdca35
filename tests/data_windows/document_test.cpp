// Texts as documents of tokens: what is learned of them, and how long ones are encoded.

#include "tests/data_windows/fixture.h"

namespace okapi::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

RecordData text_record(const std::string& text, const std::string& learned = "") {
  RecordData record{OKAPI_RECORD_TEXT, {{"text", OKAPI_FIELD_TEXT, 0, text}}};
  if (!learned.empty()) record.fields.push_back({"learned", OKAPI_FIELD_JSON, 0, learned});
  return record;
}

TokenWindow made(const RecordData& record, DocumentOptions options = {}) {
  const auto documents = DocumentMaker(savanna_tokenizer(), options).documents(record);
  EXPECT_EQ(documents.size(), 1U);
  return window_of(documents.at(0));
}

TEST(DocumentTest, ATextIsLearnedWholeButForItsFirstToken) {
  const auto ids = savanna_tokenizer()->encode("A lion roams.", false);
  const TokenWindow plain = made(text_record("A lion roams."), {.adds_bos = false});
  EXPECT_EQ(plain.ids, ids);
  std::vector<uint8_t> learned(ids.size(), 1);
  learned[0] = 0;
  EXPECT_EQ(plain.learned, learned);

  const TokenWindow framed =
      made(text_record("A lion roams."), {.adds_bos = true, .adds_eos = true});
  ASSERT_EQ(framed.ids.size(), ids.size() + 2);
  EXPECT_EQ(framed.ids.front(), savanna_tokenizer()->bos_id());
  EXPECT_EQ(framed.ids.back(), savanna_tokenizer()->eos_id());
  learned.assign(ids.size() + 2, 1);
  learned[0] = 0;
  EXPECT_EQ(framed.learned, learned);
}

TEST(DocumentTest, GivenRangesAloneAreLearned) {
  const TokenWindow window =
      made(text_record("line a: <12>\nWhat? <12>\nEnd? <7>\n", "[[20, 24], [30, 33]]"),
           {.adds_eos = true});
  EXPECT_THAT(learned_texts(*savanna_tokenizer(), window), ElementsAre("12>\n", "7>\n"));
  EXPECT_EQ(savanna_tokenizer()->decode(window.ids), "line a: <12>\nWhat? <12>\nEnd? <7>\n");
}

TEST(DocumentTest, NothingToLearnIsNoDocument) {
  const DocumentMaker maker(savanna_tokenizer(), {});
  EXPECT_THAT(maker.documents(text_record("")), IsEmpty());
  EXPECT_THAT(maker.documents(text_record("abc", "[]")), IsEmpty());
}

TEST(DocumentTest, RangesThatAreNoneAreErrors) {
  const DocumentMaker maker(savanna_tokenizer(), {});
  for (const char* learned : {"[[2, 1]]", "[[0, 99]]", "[[0, 2], [1, 3]]", "[[1, 1]]", "[3]",
                              "[[-1, 2]]", "{}", "[[0, 1.5]]", "[[0, 4]]"}) {  // é is bytes 3 and 4
    const Error error = error_of([&] { maker.documents(text_record("abc\u00e9d", learned)); });
    EXPECT_EQ(error.field_name(), "learned") << learned;
  }
}

TEST(DocumentTest, OtherRecordsAreErrorsThatNameTheWay) {
  const DocumentMaker maker(savanna_tokenizer(), {});
  const Error error = error_of([&] { maker.documents({OKAPI_RECORD_PROMPT, {}}); });
  EXPECT_THAT(error.message(), HasSubstr("'prompt' records"));
  EXPECT_THAT(error.message(), HasSubstr("training=true"));
}

// A continuation is what the model would meet: its ids follow those of the prompt.
TEST(DocumentTest, ContinuationsHaveNoBlankOfTheirOwn) {
  for (const auto& tokenizer : {savanna_tokenizer(), small_tokenizer()}) {
    const std::string prompt = "I saw a girl:";
    for (const std::string answer : {" with a telescope.", " Hello", "\nx"}) {
      auto ids = tokenizer->encode(prompt, false);
      const auto more = encode_continuation(*tokenizer, prompt, answer);
      ids.insert(ids.end(), more.begin(), more.end());
      EXPECT_EQ(ids, tokenizer->encode(prompt + answer, false)) << answer;
    }
  }
}

TEST(DocumentTest, LongTextsAreEncodedInPartsToTheSameIds) {
  std::string text;
  for (int i = 0; text.size() < 600'000; ++i) {
    text += "Line " + std::to_string(i) + " of a long text; caf\u00e9s, words" +
            (i % 7 == 0 ? "\n\n" : "\n");
  }
  for (const auto& tokenizer : {savanna_tokenizer(), small_tokenizer()}) {
    EXPECT_EQ(encode_text(*tokenizer, text), tokenizer->encode(text, false));
  }
  // Without line breaks parts end at blanks, and without these between characters.
  std::replace(text.begin(), text.end(), '\n', ' ');
  EXPECT_EQ(encode_text(*savanna_tokenizer(), text), savanna_tokenizer()->encode(text, false));
  std::string solid;
  while (solid.size() < 600'000) solid += "\u00e9";
  EXPECT_EQ(savanna_tokenizer()->decode(encode_text(*savanna_tokenizer(), solid)), solid);
}

}  // namespace
}  // namespace okapi::test
