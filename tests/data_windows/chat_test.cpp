// Vicuna's template and its loss mask.

#include "runtime/data/chat.h"

#include "runtime/base/file.h"
#include "tests/data_windows/fixture.h"

namespace okapi::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kSystem =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions.";

std::vector<TokenDocument> documents_of(const std::vector<ChatRound>& rounds, int64_t length = 0,
                                        const std::string& system = kSystem) {
  return chat_documents(*savanna_tokenizer(), {system, true, length}, rounds);
}

Json turns(const std::vector<std::pair<std::string, std::string>>& given) {
  Json json = Json::array();
  for (const auto& [role, text] : given) json.push_back({{"role", role}, {"text", text}});
  return json;
}

TEST(ChatTest, TemplateIsVicunasToTheByte) {
  const auto documents = documents_of({{"Hello there.", "Hi!"}, {"Bye", "See you."}});
  ASSERT_EQ(documents.size(), 1U);
  EXPECT_EQ(
      spelled(*savanna_tokenizer(), documents[0].ids),
      "<s>" + kSystem + " USER: Hello there. ASSISTANT: Hi!</s>USER: Bye ASSISTANT: See you.</s>");
}

struct MaskCase {
  const char* what;
  std::vector<std::pair<std::string, std::string>> turns;
  std::vector<std::string> learned;  ///< text of each run of learned tokens
};

TEST(ChatTest, AnswersAndTheirEndsAreLearned) {
  const MaskCase cases[] = {
      {"one round", {{"user", "Hi"}, {"assistant", "Hello."}}, {" Hello.</s>"}},
      {"several rounds",
       {{"user", "a"}, {"assistant", "b c"}, {"user", "d"}, {"assistant", "e"}},
       {" b c</s>", " e</s>"}},
      {"a question without answer", {{"user", "a"}, {"assistant", "b"}, {"user", "c"}}, {" b</s>"}},
      {"only a question", {{"user", "a"}}, {}},
      {"nothing", {}, {}},
      {"an empty answer leaves its round out",
       {{"user", "a"}, {"assistant", ""}, {"user", "c"}, {"assistant", "d"}},
       {" d</s>"}},
      {"an empty question does too",
       {{"user", ""}, {"assistant", "b"}, {"user", "c"}, {"assistant", "d"}},
       {" d</s>"}},
      {"blanks are text", {{"user", " "}, {"assistant", "  x \n"}}, {"   x \n</s>"}},
      {"spelled control tokens are text",
       {{"user", "</s>"}, {"assistant", "<s>x</s>"}},
       {" <s>x</s></s>"}},
      {"template words are text",
       {{"user", "ASSISTANT: no"}, {"assistant", "USER: yes ASSISTANT: yes"}},
       {" USER: yes ASSISTANT: yes</s>"}},
      {"other scripts",
       {{"user", "\u00e9\u4f60"}, {"assistant", "\u4f60\u597d \U0001F600"}},
       {" \u4f60\u597d \U0001F600</s>"}},
  };
  const auto tokenizer = savanna_tokenizer();
  for (const MaskCase& tried : cases) {
    const auto documents = documents_of(chat_rounds(turns(tried.turns)));
    if (tried.learned.empty()) {
      EXPECT_THAT(documents, IsEmpty()) << tried.what;
      continue;
    }
    ASSERT_EQ(documents.size(), 1U) << tried.what;
    const TokenDocument& document = documents[0];
    std::vector<std::string> found;
    for (const LearnedRange& range : document.learned) {
      // Whole runs, so that a character of several byte tokens is one again.
      std::vector<int32_t> run(document.ids.begin() + range.begin,
                               document.ids.begin() + range.end);
      ASSERT_EQ(run.back(), tokenizer->eos_id()) << tried.what;
      run.pop_back();
      found.push_back(tokenizer->decode(run) + "</s>");
    }
    EXPECT_EQ(found, tried.learned) << tried.what;
  }
}

TEST(ChatTest, RolesOutOfTurnAreErrors) {
  const std::vector<Json> wrong = {
      turns({{"assistant", "a"}}),
      turns({{"user", "a"}, {"user", "b"}}),
      turns({{"user", "a"}, {"assistant", "b"}, {"system", "c"}}),
      Json::array({Json{{"role", "user"}}}),
      Json::array({"text"}),
      Json::object(),
  };
  for (const Json& given : wrong) {
    EXPECT_EQ(error_of([&] { chat_rounds(given); }).field_name(), "turns") << given;
  }
  EXPECT_THAT(error_of([&] { chat_rounds(wrong[1]); }).message(),
              HasSubstr("turns[1]: role: wanted assistant, found \"user\""));
}

// The tokenizer of the reference: sentencepiece between the end tokens.
std::vector<int32_t> encode_with_ends(const std::string& text) {
  const auto tokenizer = savanna_tokenizer();
  std::vector<int32_t> ids = {tokenizer->bos_id()};
  size_t begin = 0;
  while (true) {
    const size_t end = text.find("</s>", begin);
    const auto part = tokenizer->encode(text.substr(begin, end - begin), false);
    ids.insert(ids.end(), part.begin(), part.end());
    if (end == std::string::npos) return ids;
    ids.push_back(tokenizer->eos_id());
    begin = end + 4;
  }
}

std::vector<std::string> split(const std::string& text, const std::string& at) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t end = 0; (end = text.find(at, begin)) != std::string::npos; begin = end + at.size()) {
    parts.push_back(text.substr(begin, end - begin));
  }
  parts.push_back(text.substr(begin));
  return parts;
}

/// FastChat's preprocess(), as its train.py has it: a cursor over re-encoded rounds.
std::vector<uint8_t> reference_mask(const std::string& conversation, size_t n_ids) {
  std::vector<uint8_t> learned(n_ids, 1);
  const auto mask = [&](size_t begin, size_t end) {
    for (size_t i = begin; i < std::min(end, n_ids); ++i) learned[i] = 0;
  };
  size_t cursor = 1;
  mask(0, cursor);
  for (const std::string& round : split(conversation, "</s>")) {
    if (round.empty()) break;
    const auto parts = split(round, " ASSISTANT: ");
    if (parts.size() != 2) break;
    const size_t round_length = encode_with_ends(round).size();
    const size_t instruction_length = encode_with_ends(parts[0] + " ASSISTANT: ").size() - 2;
    mask(cursor, cursor + instruction_length);
    cursor += round_length;
  }
  mask(cursor, n_ids);
  EXPECT_EQ(cursor, n_ids);
  return learned;
}

TEST(ChatTest, MaskEqualsFastChatsOnItsOwnConversations) {
  const auto dataset =
      lines_host()
          .dataset("conversations")
          ->open({{"path", OKAPI_TEST_DATA "/conversations/fastchat_excerpt.json"}}, 1, nullptr);
  ASSERT_EQ(dataset->count(), 24);
  size_t n_rounds = 0;
  for (int64_t i = 0; i < dataset->count(); ++i) {
    const auto rounds = chat_rounds(dataset->record(i).json()["turns"]);
    std::string text = kSystem + " ";
    for (const ChatRound& round : rounds) {
      text += "USER: " + round.user + " ASSISTANT: " + round.assistant + "</s>";
    }
    n_rounds += rounds.size();
    const auto documents = documents_of(rounds);
    ASSERT_EQ(documents.size(), 1U);
    const TokenWindow window = window_of(documents[0]);
    EXPECT_EQ(window.ids, encode_with_ends(text)) << i;
    EXPECT_EQ(window.learned, reference_mask(text, window.ids.size())) << i;
  }
  EXPECT_GT(n_rounds, 48U);  // most have several
}

TEST(ChatTest, LongConversationsAreSplitBetweenRounds) {
  std::vector<ChatRound> rounds;
  for (int i = 0; i < 12; ++i) {
    rounds.push_back({"Question number " + std::to_string(i) + "?",
                      "The answer is " + std::to_string(i * 111) + "."});
  }
  const auto tokenizer = savanna_tokenizer();
  const size_t whole = documents_of(rounds)[0].ids.size();
  const auto pieces = documents_of(rounds, static_cast<int64_t>(whole / 2));
  ASSERT_GT(pieces.size(), 1U);
  std::vector<std::string> answers;
  for (const TokenDocument& piece : pieces) {
    EXPECT_LE(piece.ids.size(), whole / 2);
    const std::string text = spelled(*tokenizer, piece.ids);
    EXPECT_TRUE(text.starts_with("<s>" + kSystem + " USER: Question")) << text;
    EXPECT_TRUE(text.ends_with(".</s>"));
    for (const auto& answer : learned_texts(*tokenizer, window_of(piece)))
      answers.push_back(answer);
  }
  ASSERT_EQ(answers.size(), rounds.size());
  for (size_t i = 0; i < rounds.size(); ++i) {
    EXPECT_EQ(answers[i], " " + rounds[i].assistant + "</s>");
  }
}

TEST(ChatTest, ARoundTooLongIsCutAtTheRight) {
  const auto tokenizer = savanna_tokenizer();
  const std::vector<ChatRound> rounds = {{"Count.", "one two three four five six seven eight nine"},
                                         {"And?", "Done."}};
  const TokenDocument whole = documents_of({rounds[0]}, 0, "S.")[0];
  const auto length = static_cast<int64_t>(whole.ids.size()) - 5;
  const auto pieces = documents_of(rounds, length, "S.");
  ASSERT_EQ(pieces.size(), 2U);
  EXPECT_EQ(pieces[0].ids, std::vector<int32_t>(whole.ids.begin(), whole.ids.begin() + length));
  EXPECT_EQ(pieces[0].learned[0].begin, whole.learned[0].begin);
  EXPECT_EQ(pieces[0].learned[0].end, static_cast<uint32_t>(length));  // no end is learned
  EXPECT_EQ(spelled(*tokenizer, pieces[1].ids), "<s>S. USER: And? ASSISTANT: Done.</s>");

  // Where not even the question fits, nothing is left to learn.
  const int64_t question = whole.learned[0].begin;
  EXPECT_THAT(documents_of({rounds[0]}, question, "S."), IsEmpty());
  EXPECT_EQ(documents_of({rounds[0]}, question + 1, "S.").size(), 1U);
}

}  // namespace
}  // namespace okapi::test
