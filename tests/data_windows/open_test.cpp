// Data as a configuration describes it.

#include "runtime/data/open.h"

#include <set>

#include "tests/data_windows/fixture.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

/// A corpus of JSON lines: record i is the sentence "Record i says words words ...".
std::filesystem::path corpus(const TemporaryFolder& folder, int n) {
  std::string lines;
  for (int i = 0; i < n; ++i) {
    std::string text = "Record " + std::to_string(i) + " says";
    for (int k = 0; k < 10 + i % 30; ++k) text += " words";
    lines += Json{{"text", text}, {"meta", {{"i", i}}}}.dump() + "\n";
  }
  return folder.write("corpus.jsonl", lines);
}

Json jsonl_config(const std::filesystem::path& path, const Json& more = Json::object()) {
  Json config = {{"dataset", "jsonl"}, {"params", {{"path", path.string()}}}, {"length", 16}};
  config.update(more);
  return config;
}

/// The records that windows 0 .. n-1 come from.
std::set<std::string> records_of(const WindowSource& source, int64_t n) {
  std::set<std::string> records;
  for (int64_t i = 0; i < n; ++i) {
    const std::string identity = source.window(i).identity;
    records.insert(identity.substr(0, identity.find(", tokens")));
  }
  return records;
}

TEST(OpenTest, HeldOutRecordsAreNeverTrainedOn) {
  const TemporaryFolder folder;
  const auto path = corpus(folder, 60);
  const Json config = jsonl_config(path, {{"holdout", 7}});
  const WindowSources sources = open(config);
  ASSERT_NE(sources.validation, nullptr);
  const auto held_out = records_of(*sources.validation, sources.validation->count());
  const auto trained = records_of(*sources.training, sources.training->count());
  EXPECT_EQ(held_out.size(), 7U);
  EXPECT_EQ(trained.size(), 53U);
  for (const std::string& record : held_out) EXPECT_FALSE(trained.contains(record)) << record;

  // The split does not depend on the seed of training, and does on its own.
  EXPECT_EQ(records_of(*open(config, 99).validation, sources.validation->count()), held_out);
  const WindowSources other = open(jsonl_config(path, {{"holdout", 7}, {"split_seed", 5}}));
  EXPECT_NE(records_of(*other.validation, other.validation->count()), held_out);
  // A share of 60 records.
  const WindowSources share = open(jsonl_config(path, {{"holdout", 0.25}}));
  EXPECT_EQ(records_of(*share.validation, share.validation->count()).size(), 15U);
}

TEST(OpenTest, ValidationWindowsCanBeFewer) {
  const TemporaryFolder folder;
  const auto path = corpus(folder, 60);
  const WindowSources all = open(jsonl_config(path, {{"holdout", 30}}));
  const WindowSources some = open(jsonl_config(path, {{"holdout", 30}, {"holdout_windows", 9}}));
  ASSERT_GT(all.validation->count(), 20);
  ASSERT_EQ(some.validation->count(), 9);
  std::set<std::string> names;
  for (int64_t i = 0; i < 9; ++i) names.insert(some.validation->window(i).identity);
  EXPECT_EQ(names.size(), 9U);  // drawn without replacement
  std::set<std::string> known;
  for (int64_t i = 0; i < all.validation->count(); ++i) {
    known.insert(all.validation->window(i).identity);
  }
  for (const std::string& name : names) EXPECT_TRUE(known.contains(name)) << name;
}

TEST(OpenTest, ChoicesOfBosAndEosAreKept) {
  const TemporaryFolder folder;
  const auto path =
      folder.write("a.txt", "one two three four five six seven eight nine ten eleven");
  const auto tokenizer = savanna_tokenizer();
  const auto ids =
      tokenizer->encode("one two three four five six seven eight nine ten eleven", false);
  const auto first = [&](const char* bos, bool eos) {
    return open({{"dataset", "text"},
                 {"params", {{"path", path.string()}}},
                 {"length", 1000},
                 {"bos", bos},
                 {"eos", eos}})
        .training->window(0)
        .ids;
  };
  std::vector<int32_t> wanted = ids;
  EXPECT_EQ(first("none", false), wanted);
  wanted.insert(wanted.begin(), tokenizer->bos_id());
  EXPECT_EQ(first("document", false), wanted);
  EXPECT_EQ(first("window", false), wanted);
  wanted.push_back(tokenizer->eos_id());
  EXPECT_EQ(first("document", true), wanted);

  const auto windows = open({{"dataset", "text"},
                             {"params", {{"path", path.string()}}},
                             {"length", 5},
                             {"bos", "window"}})
                           .training;
  for (int64_t i = 0; i < windows->count(); ++i) {
    EXPECT_EQ(windows->window(i).ids[0], tokenizer->bos_id());
    EXPECT_LE(windows->window(i).ids.size(), 5U);
  }
}

TEST(OpenTest, LinesDocumentsNeverEndAndNeverRepeat) {
  const Json config = {{"dataset", "lines"},
                       {"params", {{"training", true}, {"style", "compact"}, {"length", 300}}},
                       {"length", 300},
                       {"holdout", 4}};
  const WindowSources sources = open(config);
  EXPECT_EQ(sources.training->count(), -1);
  EXPECT_EQ(sources.training->max_tokens(), 300);
  ASSERT_EQ(sources.validation->count(), 4);
  std::set<std::vector<int32_t>> seen;
  for (int64_t i = 0; i < 4; ++i)
    EXPECT_TRUE(seen.insert(sources.validation->window(i).ids).second);
  for (int64_t i = 0; i < 40; ++i) {
    const TokenWindow window = sources.training->window(i);
    EXPECT_TRUE(seen.insert(window.ids).second) << i;
    EXPECT_LE(window.ids.size(), 300U);
    EXPECT_EQ(window.ids[0], savanna_tokenizer()->bos_id());
  }
  EXPECT_TRUE(same(sources.validation->window(5), sources.validation->window(1)));
  EXPECT_TRUE(same(open(config).training->window(7), sources.training->window(7)));
  EXPECT_FALSE(same(open(config, 2).training->window(7), sources.training->window(7)));
}

TEST(OpenTest, ARecordTooLongForItsWindowIsAnErrorThatNamesIt) {
  const auto source =
      open({{"dataset", "lines"},
            {"params",
             {{"training", true}, {"style", "compact"}, {"length", 300}, {"min_length", 290}}},
            {"length", 128}})
          .training;
  const Error error = error_of([&] { source->window(3); });
  EXPECT_EQ(error.code(), Code::out_of_range);
  EXPECT_THAT(error.full_message(), HasSubstr("lines: record 3"));
  EXPECT_THAT(error.full_message(), HasSubstr("window 128"));
}

TEST(OpenTest, MixturesTakeWindowsInTheirShares) {
  const TemporaryFolder folder;
  const auto path = corpus(folder, 20);
  const Json config = {
      {"mixture",
       {{{"weight", 3},
         {"dataset", "lines"},
         {"params", {{"training", true}, {"style", "compact"}, {"length", 128}}}},
        {{"weight", 1},
         {"dataset", "jsonl"},
         {"params", {{"path", path.string()}}},
         {"length", 32}},
        {{"weight", 1},
         {"dataset", "lines"},
         {"params", {{"training", true}, {"style", "compact"}, {"length", 128}}}}}},
      {"length", 128},
      {"holdout", 2}};
  const WindowSources sources = open(config);
  EXPECT_EQ(sources.training->max_tokens(), 128);
  int64_t n_jsonl = 0;
  std::set<std::vector<int32_t>> lines;
  for (int64_t i = 0; i < 100; ++i) {
    const TokenWindow window = sources.training->window(i);
    if (window.identity.starts_with("jsonl")) {
      ++n_jsonl;
      EXPECT_LE(window.ids.size(), 32U);
    } else {
      EXPECT_TRUE(lines.insert(window.ids).second) << "two entries of a dataset are not the same";
    }
  }
  EXPECT_EQ(n_jsonl, 20);
  EXPECT_GT(sources.validation->count(), 4);  // two documents of each, long ones in pieces
}

TEST(OpenTest, ConversationsAreSplitToTheWindow) {
  const WindowSources sources =
      open({{"dataset", "conversations"},
            {"params", {{"path", OKAPI_TEST_DATA "/conversations/fastchat_excerpt.json"}}},
            {"length", 160},
            {"shuffle", false}});
  const auto tokenizer = savanna_tokenizer();
  ASSERT_GT(sources.training->count(), 24);
  for (int64_t i = 0; i < sources.training->count(); ++i) {
    const TokenWindow window = sources.training->window(i);
    EXPECT_LE(window.ids.size(), 160U);
    EXPECT_TRUE(spelled(*tokenizer, window.ids).starts_with("<s>A chat between")) << i;
    EXPECT_FALSE(learned_texts(*tokenizer, window).empty());
  }
}

TEST(OpenTest, WrongConfigurationsNameTheKey) {
  const Json lines = {{"training", true}, {"style", "compact"}, {"length", 64}};
  const struct {
    Json config;
    std::string field;
    std::string says;
  } cases[] = {
      {{{"dataset", "lines"}, {"lenght", 64}, {"length", 3}}, "lenght", "did you mean length?"},
      {{{"dataset", "lines"}, {"lenght", 64}}, "lenght", "did you mean length?"},
      {{{"length", 64}}, "dataset", "found 0 of them"},
      {{{"dataset", "lines"}, {"tokens", "x"}, {"length", 64}}, "dataset", "found 2 of them"},
      {{{"dataset", "lines"}}, "length", "length"},
      {{{"dataset", "lines"}, {"length", 1}}, "length", "from 2"},
      {{{"dataset", "lines"}, {"length", 8}, {"overlap", 8}}, "overlap", "less than the 8"},
      {{{"dataset", "lines"}, {"length", 8}, {"overlap", 7}, {"bos", "window"}},
       "overlap",
       "less than the 7"},
      {{{"dataset", "lines"}, {"length", 8}, {"bos", "both"}}, "bos", "document, window or none"},
      {{{"dataset", "lines"}, {"length", 8}, {"params", 3}}, "params", "wanted an object"},
      {{{"dataset", "lines"}, {"length", 8}, {"holdout", 1.5}}, "holdout", "whole number"},
      {{{"dataset", "lines"}, {"length", 8}, {"weight", 1}}, "weight", "no effect here"},
      {{{"dataset", "lines"}, {"length", 64}, {"params", lines}, {"pack", true}},
       "pack",
       "never ends"},
      {{{"dataset", "lines"}, {"length", 64}, {"params", lines}, {"holdout", 0.5}},
       "holdout",
       "number of records"},
      {{{"mixture", Json::array()}}, "mixture", "at least one"},
      {{{"mixture", {{{"dataset", "lines"}, {"length", 8}, {"weight", -1}}}}},
       "mixture[0].weight",
       ""},
      {{{"mixture", {{{"length", 8}}}}}, "mixture[0].mixture", "found 0 of them"},
      {{{"tokens", "x"}, {"length", 8}, {"params", Json::object()}}, "params", "no effect here"},
      {{{"tokens", "x"}, {"length", 8}, {"bos", "document"}}, "bos", "have theirs"},
  };
  for (const auto& tried : cases) {
    const Error error = error_of([&] { open(tried.config); });
    EXPECT_THAT(error.full_message(), HasSubstr(tried.field)) << tried.config;
    EXPECT_THAT(error.full_message(), HasSubstr(tried.says)) << tried.config;
    EXPECT_EQ(error.code(), Code::invalid_argument) << tried.config;
  }
}

TEST(OpenTest, DatasetsThatGiveNoTextAreRefused) {
  const Error error = error_of([&] { open({{"dataset", "lines"}, {"length", 64}}); });
  EXPECT_THAT(error.full_message(), HasSubstr("record 0"));
  EXPECT_THAT(error.full_message(), HasSubstr("'prompt' records"));
}

TEST(OpenTest, TooMuchForMemorySaysWhatToDo) {
  const TemporaryFolder folder;
  const auto path = corpus(folder, 50);
  const Error error = error_of([&] { open(jsonl_config(path, {{"max_memory", 1000}})); });
  EXPECT_EQ(error.code(), Code::resource_exhausted);
  EXPECT_THAT(error.full_message(), HasSubstr("okapi data prepare"));
}

TEST(OpenTest, ThreadsChangeNothing) {
  const TemporaryFolder folder;
  const Json config = jsonl_config(corpus(folder, 150));
  DataOptions options;
  const auto opened = [&](int n_threads) {
    options.n_threads = n_threads;
    return open_window_sources(config, savanna_tokenizer(), lines_host(), 1, options)
        .training->describe()["tokens_sha256"];
  };
  EXPECT_EQ(opened(1), opened(4));

  // Of several records that are wrong the first is named, whichever thread is faster.
  const Json prompts = {{"dataset", "lines"}, {"length", 64}};
  options.n_threads = 4;
  const Error error = error_of(
      [&] { open_window_sources(prompts, savanna_tokenizer(), lines_host(), 1, options); });
  EXPECT_THAT(error.full_message(), HasSubstr("record 0:"));
}

TEST(OpenTest, OpeningCanBeWatchedAndStopped) {
  const TemporaryFolder folder;
  const auto path = corpus(folder, 50);
  CancelToken cancel;
  std::vector<int64_t> done;
  DataOptions options;
  options.cancel = &cancel;
  options.progress = [&](int64_t n, int64_t total) {
    done.push_back(n);
    EXPECT_EQ(total, 50);
    if (n == 20) cancel.request();
  };
  const Error error = error_of([&] {
    open_window_sources(jsonl_config(path), savanna_tokenizer(), lines_host(), 1, options);
  });
  EXPECT_EQ(error.code(), Code::cancelled);
  EXPECT_EQ(done.size(), 20U);
}

}  // namespace
}  // namespace okapi::test
