#include "runtime/evaluation/evaluation.h"

#include <sqlite3.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/cancel.h"
#include "runtime/base/error.h"
#include "runtime/model/rotary/rope.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/evaluation/savanna_lines.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

Error error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "wanted an error";
  return {Code::ok, ""};
}

const Json kSmall = {{"length", 200}, {"n_samples", 6}};

nlohmann::ordered_json report_of(const std::shared_ptr<const BoundTask>& task,
                                 const EvaluationOptions& options) {
  const auto evaluation = Evaluation::create(task, savanna(), options);
  evaluation->run({});
  return evaluation->report();
}

// The model's README: it answers up to its 512 tokens, and nothing past 1024. Of 12 questions one
// or two may go wrong by chance (transformers' golden answers: none of 24 at 256 tokens, all of 24
// at 2000).
TEST(EvaluationTest, TrainedModelAnswersWithinItsLengthAndNotFarBeyond) {
  const auto within = report_of(savanna_task({{"length", 256}, {"n_samples", 12}}), {});
  EXPECT_EQ(within["metrics"][0]["name"], "correct");
  EXPECT_EQ(within["metrics"][0]["n"], 12);
  EXPECT_GE(within["metrics"][0]["value"], 10.0 / 12);
  const auto beyond = report_of(savanna_task({{"length", 2048}, {"n_samples", 4}}), {});
  EXPECT_EQ(beyond["metrics"][0]["value"], 0.0);
  // Wilson's bound for 0 of 4: 3.841459 / (4 + 3.841459).
  EXPECT_NEAR(beyond["metrics"][0]["high"].get<double>(), 3.841459 / 7.841459, 1e-6);
}

TEST(EvaluationTest, ReportHasSamplesInTheOrderOfTheItems) {
  const auto task = savanna_task(kSmall);
  const auto report = report_of(task, {});
  EXPECT_EQ(report["n_done"], 6);
  EXPECT_EQ(report["n_items"], 6);
  ASSERT_EQ(report["samples"].size(), 6);
  for (int64_t i = 0; i < 6; ++i) {
    const auto& sample = report["samples"][static_cast<size_t>(i)];
    EXPECT_EQ(sample["item"], i);
    EXPECT_EQ(sample["output_ids"].size(), 8);
    EXPECT_TRUE(sample["correct"].is_boolean());
    EXPECT_TRUE(sample["parsed"].is_number_integer());
    EXPECT_EQ(sample["stop_reason"], "length");
    EXPECT_EQ(sample["attributes"]["length"], 200);
    // Prompt and output together: the default declared length.
    EXPECT_EQ(sample["declared_length"], sample["n_prompt_tokens"].get<int64_t>() + 8);
    EXPECT_EQ(sample["table_sha256"].get<std::string>().size(), 64);
    const PreparedItem item = task->item(i);
    EXPECT_EQ(sample["prompt_sha256"], hash_of_prompt(item.prompt, item.ids));
  }
  EXPECT_EQ(report["groups"]["length"][0]["value"], 200);
  EXPECT_EQ(report["groups"]["length"][0]["metrics"][0]["n"], 6);
  EXPECT_GE(report["groups"]["depth_decile"].size(), 1);
  const auto& identity = report["run"]["identity"];
  for (const char* key : {"model_sha256", "dtype", "backend", "rope", "rope_length",
                          "rope_tables_sha256", "rope_plugins", "task"}) {
    EXPECT_TRUE(identity.contains(key)) << key;
  }
  EXPECT_EQ(identity["rope"], savanna()->rope()->canonical());
  EXPECT_EQ(identity["task"]["seed"], 1);
  EXPECT_EQ(identity["task"]["parameters"]["length"], 200);
  EXPECT_EQ(report["run"]["sha256"].get<std::string>().size(), 64);
}

// Prompts of different lengths, so that they finish prefill at different times; some outputs end
// early.
TEST(EvaluationTest, AnswersDoNotDependOnTheBatch) {
  Json prompts = Json::array();
  for (int64_t length : {100, 180, 260, 340, 500}) {
    const auto task = savanna_task({{"length", length}, {"n_samples", 2}}, 3);
    for (int64_t i = 0; i < 2; ++i) {
      prompts.push_back({{"prompt", task->item(i).prompt},
                         {"expected", task->item_json(i)["expected"]},
                         {"length", length}});
    }
  }
  const auto task = savanna_prompts(prompts);
  EvaluationOptions options;
  options.rope = savanna()->parse_rope("dynamic_ntk:scale=4");
  options.batch_size = 1;
  const Json alone = comparable(report_of(task, options));
  for (int64_t batch_size : {2, 7, 0}) {
    options.batch_size = batch_size;
    EXPECT_EQ(comparable(report_of(task, options)), alone) << batch_size;
  }
}

/// Prompts that begin with the same document of `length` tokens and go on each with a question of
/// its own; the second half of them about another document.
Json questions_about_two_documents(int64_t length) {
  Json prompts = Json::array();
  for (uint64_t seed : {5, 6}) {
    const auto task = savanna_task({{"length", length}, {"n_samples", 1}}, seed);
    const std::string prompt = task->item(0).prompt;
    const size_t question = prompt.rfind('\n', prompt.size() - 2);
    for (const char* more : {"", "\nline a-b: REGISTER_CONTENT is <1>", "\nWhat is this", "\n\n"}) {
      prompts.push_back({{"prompt", prompt.substr(0, question) + more + prompt.substr(question)},
                         {"expected", task->item_json(0)["expected"]},
                         {"length", length}});
    }
  }
  return prompts;
}

TEST(EvaluationTest, PromptsThatBeginAlikeAreReadOnce) {
  const auto task = savanna_prompts(questions_about_two_documents(300));
  const auto page = savanna()->kv_layout().page_tokens;
  int64_t n_prompt_tokens = 0;
  for (int64_t i = 0; i < 8; ++i) n_prompt_tokens += task->item(i).ids.size();
  // By how much each of a document's later questions begins like the first.
  int64_t n_shareable = 0;
  for (int64_t i : {1, 2, 3, 5, 6, 7}) {
    const auto first = task->item(i / 4 * 4).ids;
    const auto other = task->item(i).ids;
    const auto end = std::mismatch(first.begin(), first.end(), other.begin(), other.end()).first;
    n_shareable += (end - first.begin()) / page * page;
  }
  ASSERT_GT(n_shareable, n_prompt_tokens / 2);

  EvaluationOptions options;
  options.rope = savanna()->parse_rope("linear:scale=2");
  options.deterministic = true;
  const auto unshared = report_of(task, options);
  EXPECT_EQ(unshared["prefill"]["n_prompt_tokens"], n_prompt_tokens);
  EXPECT_EQ(unshared["prefill"]["n_shared_tokens"], 0);
  options.deterministic = false;
  for (int64_t batch_size : {1, 3, 8}) {
    options.batch_size = batch_size;
    const auto report = report_of(task, options);
    EXPECT_EQ(report["prefill"]["n_prompt_tokens"], n_prompt_tokens);
    EXPECT_GE(report["prefill"]["n_shared_tokens"], n_shareable) << batch_size;
    EXPECT_EQ(comparable(report), comparable(unshared)) << batch_size;
  }
}

// Each prompt is declared at a length of its own, and another table has turned the keys by another
// angle: nothing can be shared, but where two happen to be as long.
TEST(EvaluationTest, PromptsUnderOtherTablesAreNotShared) {
  const Json prompts = questions_about_two_documents(600);
  const auto task = savanna_prompts(prompts);
  std::set<size_t> lengths;
  for (int64_t i = 0; i < 4; ++i) lengths.insert(task->item(i).ids.size());
  ASSERT_EQ(lengths.size(), 4);
  EvaluationOptions options;
  options.rope = savanna()->parse_rope("dynamic_ntk:scale=4");
  EXPECT_EQ(report_of(task, options)["prefill"]["n_shared_tokens"], 0);
  options.rope_length = 2000;  // one table for all
  EXPECT_GT(report_of(task, options)["prefill"]["n_shared_tokens"].get<int64_t>(), 0);
}

// Logits are compared to the bit in tests/generation; here, answers, of prompts that begin alike.
TEST(EvaluationTest, DeterministicAnswersAreAnotherRunAndTheSameAtEveryBatchSize) {
  const auto task = savanna_prompts(questions_about_two_documents(300));
  EvaluationOptions options;
  const auto usual = report_of(task, options);
  options.deterministic = true;
  options.batch_size = 1;
  const auto alone = report_of(task, options);
  EXPECT_NE(alone["run"]["sha256"], usual["run"]["sha256"]);
  EXPECT_EQ(alone["run"]["identity"]["deterministic"], true);
  EXPECT_FALSE(usual["run"]["identity"].contains("deterministic"));
  for (int64_t batch_size : {4, 16}) {
    options.batch_size = batch_size;
    EXPECT_EQ(comparable(report_of(task, options)), comparable(alone)) << batch_size;
  }
}

TEST(EvaluationTest, ProgressGoesFromNoneToAll) {
  const auto evaluation = Evaluation::create(savanna_task(kSmall), savanna(), {.batch_size = 1});
  std::vector<int64_t> done;
  RunOptions run;
  run.progress = [&](int64_t n_done, int64_t n_items) {
    EXPECT_EQ(n_items, 6);
    done.push_back(n_done);
  };
  evaluation->run(run);
  EXPECT_EQ(done, (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6}));
}

TEST(EvaluationTest, CancelKeepsWhatHasFinishedAndRunGoesOn) {
  const auto whole = comparable(report_of(savanna_task(kSmall), {}));
  const auto evaluation = Evaluation::create(savanna_task(kSmall), savanna(), {.batch_size = 2});
  RunOptions run;
  auto cancel = std::make_shared<CancelToken>();
  run.cancel = cancel;
  run.progress = [&](int64_t n_done, int64_t) {
    if (n_done >= 2) cancel->request();
  };
  EXPECT_EQ(error_of([&] { evaluation->run(run); }).code(), Code::cancelled);
  EXPECT_EQ(evaluation->n_done(), 2);
  EXPECT_EQ(evaluation->report()["metrics"][0]["n"], 2);
  evaluation->run({});
  EXPECT_EQ(comparable(evaluation->report()), whole);
}

TEST(EvaluationTest, StoredSamplesAreTakenOver) {
  const TemporaryFolder folder;
  const auto results = Results::open(folder.path() / "r.db");
  EvaluationOptions options;
  options.results = results;
  options.max_samples = 4;
  const auto first = report_of(savanna_task(kSmall), options);
  EXPECT_EQ(first["n_items"], 4);

  options.max_samples = 0;
  const auto second = Evaluation::create(savanna_task(kSmall), savanna(), options);
  EXPECT_EQ(second->n_done(), 4);
  int64_t n_at_first = -1;
  RunOptions run;
  run.progress = [&](int64_t n_done, int64_t) {
    n_at_first = n_at_first < 0 ? n_done : n_at_first;
  };
  second->run(run);
  EXPECT_EQ(n_at_first, 4);
  EXPECT_EQ(second->n_done(), 6);
  EXPECT_EQ(results->summary().size(), 1);
  EXPECT_EQ(results->summary()[0]["n_done"], 6);
  EXPECT_EQ(results->summary()[0]["metrics"], Json(second->report()["metrics"]));
}

TEST(EvaluationTest, WhatDecidesNumbersIsAnotherRun) {
  const TemporaryFolder folder;
  const auto results = Results::open(folder.path() / "r.db");
  EvaluationOptions options;
  options.results = results;
  const auto n_runs_after = [&](const Json& parameters, uint64_t seed,
                                const EvaluationOptions& chosen) {
    Evaluation::create(savanna_task(parameters, seed), savanna(), chosen);
    return results->summary().size();
  };
  EXPECT_EQ(n_runs_after(kSmall, 1, options), 1);
  EXPECT_EQ(n_runs_after(kSmall, 2, options), 2);
  EXPECT_EQ(n_runs_after({{"length", 300}, {"n_samples", 6}}, 1, options), 3);
  options.rope = savanna()->parse_rope("linear:scale=2");
  EXPECT_EQ(n_runs_after(kSmall, 1, options), 4);
  options.rope = savanna()->parse_rope("linear:scale=4");
  EXPECT_EQ(n_runs_after(kSmall, 1, options), 5);
  options.rope_length = 900;
  EXPECT_EQ(n_runs_after(kSmall, 1, options), 6);
  options.rope_length = kRopeLengthFollow;
  EXPECT_EQ(n_runs_after(kSmall, 1, options), 7);
  options.batch_size = 3;
  options.max_samples = 2;
  EXPECT_EQ(n_runs_after(kSmall, 1, options), 7);  // these change no number
}

// While another program holds the file, samples cannot be stored: they stay, and are stored later.
TEST(EvaluationTest, SamplesThatCannotBeStoredAreNotLost) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "r.db";
  EvaluationOptions options;
  options.batch_size = 3;
  options.results = Results::open(path, {.lock_timeout_ms = 20});
  const auto evaluation = Evaluation::create(savanna_task(kSmall), savanna(), options);

  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_EQ(error_of([&] { evaluation->run({}); }).code(), Code::unavailable);
  EXPECT_EQ(evaluation->n_done(), 3);
  EXPECT_EQ(options.results->summary()[0]["n_done"], 0);

  sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr);
  sqlite3_close(other);
  evaluation->run({});
  EXPECT_EQ(options.results->summary()[0]["n_done"], 6);
}

TEST(EvaluationTest, ChangedRecordsAreNoticed) {
  const TemporaryFolder folder;
  const auto evaluate_file = [&](const std::string& prompt, const EvaluationOptions& options) {
    const auto file =
        folder.write("r.jsonl", Json({{"prompt", prompt}, {"expected_number", 1}}).dump());
    const auto dataset =
        engine()->plugin_host().dataset("lines")->open({{"file", file.string()}}, 1, nullptr);
    const auto task = BoundTask::open(engine()->plugin_host(), "lines", {{"style", "compact"}}, 1,
                                      savanna()->tokenizer(), dataset);
    Evaluation::create(task, savanna(), options)->run({});
  };
  EvaluationOptions options;
  options.results = Results::open(folder.path() / "r.db");
  evaluate_file("line a: <1>", options);
  evaluate_file("line a: <1>", options);
  const Error error = error_of([&] { evaluate_file("line b: <1>", options); });
  EXPECT_EQ(error.code(), Code::failed_precondition);
  EXPECT_THAT(error.message(), HasSubstr("no longer those of the stored samples"));
}

TEST(EvaluationTest, RefusesWhatCannotBeRun) {
  const auto task = savanna_task(kSmall);
  EXPECT_EQ(error_of([&] { Evaluation::create(task, savanna(), {.batch_size = -1}); }).field_name(),
            "batch_size");
  EXPECT_EQ(
      error_of([&] { Evaluation::create(task, savanna(), {.rope_length = -2}); }).field_name(),
      "rope_length");
  EXPECT_EQ(
      error_of([&] { Evaluation::create(task, savanna(), {.max_samples = -1}); }).field_name(),
      "max_samples");

  const auto other = Tokenizer::open(OKAPI_TEST_DATA "/tokenizer/small.model",
                                     {OKAPI_BUILD_LIB "/okapi/tokenizers"});
  const auto counted_otherwise = BoundTask::open(
      engine()->plugin_host(), "lines", {{"length", 700}, {"style", "compact"}}, 1, other, nullptr);
  const Error error = error_of([&] { Evaluation::create(counted_otherwise, savanna(), {}); });
  EXPECT_EQ(error.code(), Code::failed_precondition);
  EXPECT_EQ(error.field_name(), "tokenizer");

  const TemporaryFolder folder;
  Results::open(folder.path() / "r.db");
  EvaluationOptions read_only;
  read_only.results = Results::open(folder.path() / "r.db", {.read_only = true});
  EXPECT_EQ(error_of([&] { Evaluation::create(task, savanna(), read_only); }).field_name(),
            "results");
}

TEST(EvaluationTest, DescribesItsEffectiveOptions) {
  EvaluationOptions options;
  options.rope_length = kRopeLengthFollow;
  const Json description = Evaluation::create(savanna_task(kSmall), savanna(), options)->describe();
  EXPECT_EQ(description["rope"], savanna()->rope()->canonical());
  EXPECT_EQ(description["rope_length"], "follow");
  EXPECT_EQ(description["n_items"], 6);
  EXPECT_TRUE(description["results"].is_null());
}

}  // namespace
}  // namespace okapi::test
