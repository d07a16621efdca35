#include <okapi/evaluation.h>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

class EvaluationTest : public testing::Test {
 protected:
  EvaluationTest() {
    write_model(folder_.path());
    model_ = open_model(runtime_.get(), folder_.path());
    tokenizer_ = create<TokenizerPtr>([&](okapi_tokenizer** out, okapi_error** error) {
      return okapi_model_get_tokenizer(model_.get(), out, error);
    });
    task_ = create<TaskPtr>([&](okapi_task** out, okapi_error** error) {
      return okapi_task_open(runtime_.get(), "lines",
                             R"({"style": "compact", "length": 96, "n_samples": 4})", 1,
                             tokenizer_.get(), nullptr, out, error);
    });
    results_ = create<ResultsPtr>([&](okapi_results** out, okapi_error** error) {
      return okapi_results_open(runtime_.get(), (folder_.path() / "results.db").c_str(), nullptr,
                                out, error);
    });
  }

  EvaluationPtr open(const okapi_evaluation_options* options = nullptr) {
    return create<EvaluationPtr>([&](okapi_evaluation** out, okapi_error** error) {
      return okapi_evaluation_create(task_.get(), model_.get(), options, out, error);
    });
  }

  static Outcome run(const EvaluationPtr& evaluation, const okapi_run_options* options = nullptr) {
    return call([&](okapi_error** error) {
      return okapi_evaluation_run(evaluation.get(), options, error);
    });
  }

  static okapi::Json report(const EvaluationPtr& evaluation) {
    return json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
      return okapi_evaluation_report(evaluation.get(), buffer, capacity, needed, error);
    });
  }

  TemporaryFolder folder_;
  RuntimePtr runtime_ = make_runtime();
  ModelPtr model_;
  TokenizerPtr tokenizer_;
  TaskPtr task_;
  ResultsPtr results_;
};

}  // namespace

TEST_F(EvaluationTest, EveryItemIsAnsweredAndScored) {
  const EvaluationPtr evaluation = open();
  EXPECT_EQ(report(evaluation)["n_done"], 0);
  ASSERT_EQ(run(evaluation).status, OKAPI_OK);
  const okapi::Json json = report(evaluation);
  EXPECT_EQ(json["n_done"], 4);
  EXPECT_EQ(json["n_items"], 4);
  ASSERT_EQ(json["samples"].size(), 4U);
  EXPECT_EQ(json["metrics"][0]["name"], "correct");

  // The first sample is what the session says greedily.
  const okapi::Json item =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_task_item(task_.get(), 0, buffer, capacity, needed, error);
      });
  const auto prompt = item["prompt_ids"].get<std::vector<int32_t>>();
  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  options.max_tokens = item["max_tokens"];
  options.min_tokens = item["min_tokens"];
  options.ignore_eos = item["ignore_eos"].get<bool>() ? 1 : 0;
  std::vector<std::string> stop_texts = item["stop_texts"];
  std::vector<const char*> stops;
  for (const std::string& text : stop_texts) stops.push_back(text.c_str());
  options.stop_texts = stops.data();
  options.n_stop_texts = stops.size();
  std::vector<int32_t> ids(static_cast<size_t>(options.max_tokens));
  size_t n_ids = 0;
  ASSERT_EQ(okapi_session_generate(make_session(model_.get()).get(), prompt.data(),
                                   static_cast<int64_t>(prompt.size()), &options, ids.data(),
                                   ids.size(), &n_ids, nullptr, nullptr),
            OKAPI_OK);
  ids.resize(n_ids);
  EXPECT_EQ(json["samples"][0]["output_ids"].get<std::vector<int32_t>>(), ids);
}

TEST_F(EvaluationTest, BatchAndRopeReachTheEngine) {
  okapi_evaluation_options options = OKAPI_EVALUATION_OPTIONS_INIT;
  const EvaluationPtr plain = open(&options);
  ASSERT_EQ(run(plain).status, OKAPI_OK);
  options.batch_size = 3;
  const EvaluationPtr batched = open(&options);
  ASSERT_EQ(run(batched).status, OKAPI_OK);
  EXPECT_EQ(report(batched)["samples"].size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(report(batched)["samples"][i]["output_ids"],
              report(plain)["samples"][i]["output_ids"]);
  }

  const RopePtr rope = make_rope(model_.get(), "linear:scale=4");
  options.rope = rope.get();
  options.max_samples = 2;
  const EvaluationPtr scaled = open(&options);
  ASSERT_EQ(run(scaled).status, OKAPI_OK);
  EXPECT_EQ(report(scaled)["n_done"], 2);
  EXPECT_NE(report(scaled)["samples"][0]["output_ids"], report(plain)["samples"][0]["output_ids"]);
}

TEST_F(EvaluationTest, DeterministicReachesTheEngine) {
  okapi_evaluation_options options = OKAPI_EVALUATION_OPTIONS_INIT;
  options.deterministic = 1;
  const EvaluationPtr evaluation = open(&options);
  ASSERT_EQ(run(evaluation).status, OKAPI_OK);
  const okapi::Json json = report(evaluation);
  EXPECT_EQ(json["run"]["identity"]["deterministic"], true);
  EXPECT_GT(json["prefill"]["n_prompt_tokens"].get<int64_t>(), 0);
  EXPECT_EQ(json["prefill"]["n_shared_tokens"], 0);
}

TEST_F(EvaluationTest, ACancelledRunKeepsItsSamplesAndGoesOn) {
  const CancelPtr cancel = create<CancelPtr>(
      [](okapi_cancel** out, okapi_error** error) { return okapi_cancel_create(out, error); });
  okapi_evaluation_options options = OKAPI_EVALUATION_OPTIONS_INIT;
  options.results = results_.get();
  options.batch_size = 1;
  okapi_run_options how = OKAPI_RUN_OPTIONS_INIT;
  how.cancel = cancel.get();
  okapi_cancel_request(cancel.get());

  EvaluationPtr evaluation = open(&options);
  EXPECT_EQ(run(evaluation, &how).status, OKAPI_CANCELLED);
  EXPECT_LT(report(evaluation)["n_done"], 4);
  okapi_cancel_reset(cancel.get());
  EXPECT_EQ(run(evaluation, &how).status, OKAPI_OK);
  EXPECT_EQ(report(evaluation)["n_done"], 4);

  // Another evaluation of the very same takes the samples over.
  const okapi::Json first = report(evaluation)["samples"];
  evaluation = open(&options);
  EXPECT_EQ(report(evaluation)["n_done"], 4);
  EXPECT_EQ(report(evaluation)["samples"], first);

  const okapi::Json summary =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_results_summary(results_.get(), buffer, capacity, needed, error);
      });
  ASSERT_EQ(summary.size(), 1U);
  EXPECT_EQ(summary[0]["n_done"], 4);
}

TEST_F(EvaluationTest, ProgressCountsSamples) {
  struct Heard {
    int64_t done = -1;
    int64_t total = 0;
  } heard;
  okapi_run_options how = OKAPI_RUN_OPTIONS_INIT;
  how.progress_user_data = &heard;
  how.progress = [](const okapi_progress* progress, void* user_data) {
    EXPECT_STREQ(progress->stage, "evaluate");
    *static_cast<Heard*>(user_data) = {progress->done, progress->total};
  };
  ASSERT_EQ(run(open(), &how).status, OKAPI_OK);
  EXPECT_EQ(heard.done, 4);
  EXPECT_EQ(heard.total, 4);
}

TEST_F(EvaluationTest, BadOptionsAreNamed) {
  const auto refused = [&](auto change, const char* field) {
    okapi_evaluation_options options = OKAPI_EVALUATION_OPTIONS_INIT;
    change(options);
    okapi_evaluation* evaluation = nullptr;
    expect_refusal(call([&](okapi_error** error) {
                     return okapi_evaluation_create(task_.get(), model_.get(), &options,
                                                    &evaluation, error);
                   }),
                   OKAPI_INVALID_ARGUMENT, field);
    EXPECT_EQ(evaluation, nullptr);
  };
  refused([](auto& options) { options.batch_size = -1; }, "options.batch_size");
  refused([](auto& options) { options.rope_length = -2; }, "options.rope_length");
  refused([](auto& options) { options.max_samples = -1; }, "options.max_samples");
  refused([](auto& options) { options.deterministic = 2; }, "options.deterministic");
  refused([](auto& options) { options.reserved[6] = 1; }, "options.reserved");

  okapi_run_options how = OKAPI_RUN_OPTIONS_INIT;
  how.reserved[3] = 1;
  expect_refusal(run(open(), &how), OKAPI_INVALID_ARGUMENT, "options.reserved");
}

TEST_F(EvaluationTest, AnotherTokenizersTaskIsRefused) {
  const TokenizerPtr other = create<TokenizerPtr>([&](okapi_tokenizer** out, okapi_error** error) {
    return okapi_tokenizer_open(runtime_.get(), OKAPI_TEST_DATA "/tokenizer/small.model", out,
                                error);
  });
  const TaskPtr task = create<TaskPtr>([&](okapi_task** out, okapi_error** error) {
    return okapi_task_open(runtime_.get(), "lines", R"({"length": 600, "n_samples": 1})", 1,
                           other.get(), nullptr, out, error);
  });
  okapi_evaluation* evaluation = nullptr;
  EXPECT_EQ(call([&](okapi_error** error) {
              return okapi_evaluation_create(task.get(), model_.get(), nullptr, &evaluation, error);
            }).status,
            OKAPI_FAILED_PRECONDITION);
}

TEST_F(EvaluationTest, DescribesItselfAndOutlivesWhatItWasMadeOf) {
  EvaluationPtr first = open();
  const EvaluationPtr second(okapi_evaluation_ref(first.get()));
  first.reset();
  task_.reset();
  tokenizer_.reset();
  results_.reset();
  model_.reset();
  runtime_.reset();
  EXPECT_EQ(run(second).status, OKAPI_OK);
  const okapi::Json json =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_evaluation_describe(second.get(), buffer, capacity, needed, error);
      });
  EXPECT_EQ(json["n_items"], 4);
}
