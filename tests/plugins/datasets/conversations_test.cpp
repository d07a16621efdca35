#include "tests/plugins/datasets/corpus_files.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

using Turns = std::vector<std::pair<std::string, std::string>>;

Json conversation(const Turns& turns) {
  Json json = {{"id", "x1"}, {"conversations", Json::array()}};
  for (const auto& [from, value] : turns)
    json["conversations"].push_back({{"from", from}, {"value", value}});
  return json;
}

Turns turns_of(const Dataset& dataset, int64_t index) {
  Turns turns;
  const Json record = dataset.record(index).json();
  EXPECT_EQ(record["kind"], "conversation");
  for (const Json& turn : record["turns"]) turns.emplace_back(turn["role"], turn["text"]);
  return turns;
}

TEST(ConversationsDatasetTest, ReadsShareGptAsArrayOrAsLines) {
  const TemporaryFolder folder;
  const Json one = conversation({{"human", "a {\"["}, {"gpt", "b \\\" ]}"}});
  const Json two =
      conversation({{"human", "c"}, {"gpt", "d"}, {"human", "e"}, {"gpt", "\u00e9\n"}});
  const std::string lines = one.dump() + "\n" + two.dump() + "\n";
  const std::string files[] = {Json::array({one, two}).dump(),
                               Json::array({one, two}).dump(2),
                               " \n[" + one.dump() + ",\n" + two.dump() + "\n]\n",
                               lines,
                               "\n\n" + lines,
                               gzipped(Json::array({one, two}).dump(1)),
                               zstandard(lines)};
  for (const std::string& bytes : files) {
    const auto dataset =
        open_dataset("conversations", {{"path", folder.write("c", bytes).string()}});
    ASSERT_EQ(dataset->count(), 2) << bytes;
    EXPECT_EQ(turns_of(*dataset, 0), (Turns{{"user", "a {\"["}, {"assistant", "b \\\" ]}"}}));
    EXPECT_EQ(turns_of(*dataset, 1),
              (Turns{{"user", "c"}, {"assistant", "d"}, {"user", "e"}, {"assistant", "\u00e9\n"}}));
    EXPECT_EQ(dataset->record(0).json()["id"], "x1");
  }
}

// LongChat's repair: a first turn that is not the user's goes, then all that break the change.
TEST(ConversationsDatasetTest, RolesAreRepairedOrRefused) {
  const TemporaryFolder folder;
  const struct {
    Turns given;
    Turns repaired;
  } cases[] = {
      {{{"gpt", "0"}, {"human", "1"}, {"gpt", "2"}}, {{"user", "1"}, {"assistant", "2"}}},
      {{{"human", "1"}, {"human", "2"}, {"gpt", "3"}}, {{"user", "1"}, {"assistant", "3"}}},
      {{{"human", "1"}, {"gpt", "2"}, {"gpt", "3"}, {"human", "4"}, {"gpt", "5"}},
       {{"user", "1"}, {"assistant", "2"}, {"user", "4"}, {"assistant", "5"}}},
      {{{"system", "0"}, {"human", "1"}, {"bing", "x"}, {"gpt", "2"}},
       {{"user", "1"}, {"assistant", "2"}}},
      {{{"user", "1"}, {"assistant", "2"}, {"human", "3"}},
       {{"user", "1"}, {"assistant", "2"}, {"user", "3"}}},
  };
  for (const auto& tried : cases) {
    const auto path = folder.write("c.json", Json::array({conversation(tried.given)}).dump());
    const auto dataset = open_dataset("conversations", {{"path", path.string()}});
    EXPECT_EQ(turns_of(*dataset, 0), tried.repaired);
  }
  const std::string wrong = Json::array({conversation(cases[1].given)}).dump();
  EXPECT_THAT(message_of("conversations", folder, "c.json", wrong, {{"roles", "strict"}}),
              HasSubstr("c.json:1: conversations[1]: from: wanted gpt, found 'human'"));
}

TEST(ConversationsDatasetTest, ShortOnesAreLeftOut) {
  const TemporaryFolder folder;
  const Json all = Json::array({conversation({{"human", "alone"}}), conversation({}),
                                conversation({{"human", "a"}, {"gpt", "b"}})});
  const auto path = folder.write("c.json", all.dump());
  EXPECT_EQ(open_dataset("conversations", {{"path", path.string()}})->count(), 1);
  EXPECT_EQ(open_dataset("conversations", {{"path", path.string()}, {"min_turns", 1}})->count(), 2);
}

TEST(ConversationsDatasetTest, WhatIsWrongIsToldWithFileAndLine) {
  const TemporaryFolder folder;
  const std::string good = conversation({{"human", "a"}, {"gpt", "b"}}).dump();
  const struct {
    std::string bytes;
    std::string says;
  } cases[] = {
      {"[" + good + ",\n{\"id\": 1}]", "c.json:2: conversations: is missing"},
      {"[" + good + ",\n" + good, "c.json:2: the file ends within its JSON array"},
      {"[" + good + "\n" + good + "]", "c.json:2: wanted ',' or ']'"},
      {"[" + good + ",\n]", "c.json:2: wanted an object, found ']'"},
      {"[" + good + "]\nx", "c.json:2: wanted nothing after the array, found 'x'"},
      {"[\n\n7]", "c.json:3: wanted an object, found '7'"},
      {good + "\n{\"conversations\": [}\n", "c.json:2: wanted a JSON object"},
      {"{\"conversations\": {}}", "c.json:1: conversations: wanted an array, found object"},
      {"{\"conversations\": [{\"from\": \"human\"}]}",
       "c.json:1: conversations[0]: value: is missing"},
      {"{\"conversations\": [{\"from\": 1, \"value\": \"\"}]}", "from: wanted text, found number"},
      {"{\"conversations\": [7]}", "c.json:1: conversations[0]: wanted an object"},
      {"[]", "c.json: holds no documents"},
  };
  for (const auto& tried : cases) {
    EXPECT_THAT(message_of("conversations", folder, "c.json", tried.bytes), HasSubstr(tried.says))
        << tried.bytes;
  }
}

}  // namespace
}  // namespace okapi::test
