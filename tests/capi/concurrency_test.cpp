// What may happen at the same time, for ThreadSanitizer to watch: sessions of one model, cancelling
// from another thread, describing while others run.
#include <atomic>
#include <chrono>
#include <thread>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

constexpr int kThreads = 4;

class ConcurrencyTest : public testing::Test {
 protected:
  ConcurrencyTest() {
    write_model(folder_.path());
    model_ = open_model(runtime_.get(), folder_.path());
  }

  TemporaryFolder folder_;
  RuntimePtr runtime_ = make_runtime();
  ModelPtr model_;
};

}  // namespace

TEST_F(ConcurrencyTest, SessionsOfOneModelDoNotDisturbEachOther) {
  std::vector<std::vector<float>> alone;
  for (int i = 0; i < kThreads; ++i) {
    alone.push_back(prefill(make_session(model_.get()).get(), some_ids(20 + i)));
  }
  std::vector<std::vector<float>> together(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 3; ++round) {
        together[i] = prefill(make_session(model_.get()).get(), some_ids(20 + i));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(together, alone) << "one thread per call: the very same bytes";
}

TEST_F(ConcurrencyTest, SchemesOfSeveralSessionsAreEvaluatedInParallel) {
  const char* specs[kThreads] = {"plain", "linear:scale=4", "yarn:scale=4", "dynamic_ntk"};
  std::vector<std::thread> threads;
  for (const char* spec : specs) {
    threads.emplace_back([&, spec] {
      const RopePtr rope = make_rope(model_.get(), spec);
      okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
      options.rope = rope.get();
      EXPECT_FALSE(prefill(make_session(model_.get(), &options).get(), some_ids(30)).empty());
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ConcurrencyTest, AForkAndItsParentRunInParallel) {
  const SessionPtr parent = make_session(model_.get());
  prefill(parent.get(), some_ids(33));
  const SessionPtr fork = create<SessionPtr>([&](okapi_session** out, okapi_error** error) {
    return okapi_session_fork(parent.get(), out, error);
  });
  std::vector<float> of_fork;
  std::thread other([&] { of_fork = prefill(fork.get(), some_ids(9)); });
  const std::vector<float> of_parent = prefill(parent.get(), some_ids(9));
  other.join();
  EXPECT_EQ(of_fork, of_parent);
}

TEST_F(ConcurrencyTest, CancelFromAnotherThreadEndsAGeneration) {
  const CancelPtr cancel = create<CancelPtr>(
      [](okapi_cancel** out, okapi_error** error) { return okapi_cancel_create(out, error); });
  const SessionPtr session = make_session(model_.get());
  std::atomic<bool> has_begun{false};
  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  options.max_tokens = 1'000'000;  // more than it gets to: only the cancel ends it in time
  options.ignore_eos = 1;
  options.cancel = cancel.get();
  options.on_token_user_data = &has_begun;
  options.on_token = [](int32_t, const char*, size_t, void* user_data) -> int32_t {
    static_cast<std::atomic<bool>*>(user_data)->store(true);
    return 0;
  };
  std::thread other([&] {
    while (!has_begun) std::this_thread::yield();
    okapi_cancel_request(cancel.get());
  });
  std::vector<int32_t> ids(static_cast<size_t>(options.max_tokens));
  size_t n_ids = 0;
  const std::vector<int32_t> prompt = some_ids(4);
  EXPECT_EQ(okapi_session_generate(session.get(), prompt.data(), 4, &options, ids.data(),
                                   ids.size(), &n_ids, nullptr, nullptr),
            OKAPI_CANCELLED);
  other.join();
  EXPECT_GE(n_ids, 1U);
  EXPECT_LT(n_ids, ids.size());
}

TEST_F(ConcurrencyTest, ObjectsAreDescribedWhileOthersRun) {
  const RopePtr rope = make_rope(model_.get(), "yarn:scale=4");
  std::atomic<bool> is_done{false};
  std::vector<std::thread> watchers;
  for (int i = 0; i < 2; ++i) {
    watchers.emplace_back([&] {
      do {
        EXPECT_EQ(okapi_runtime_describe(runtime_.get(), nullptr, 0, nullptr, nullptr), OKAPI_OK);
        EXPECT_EQ(okapi_runtime_plugins(runtime_.get(), nullptr, 0, nullptr, nullptr), OKAPI_OK);
        EXPECT_EQ(okapi_model_describe(model_.get(), nullptr, 0, nullptr, nullptr), OKAPI_OK);
        EXPECT_EQ(okapi_rope_explain(rope.get(), 200, nullptr, 0, nullptr, nullptr), OKAPI_OK);
      } while (!is_done);
    });
  }
  const SessionPtr session = make_session(model_.get());
  for (int i = 0; i < 20; ++i) prefill(session.get(), some_ids(5));
  is_done = true;
  for (std::thread& watcher : watchers) watcher.join();
}

TEST_F(ConcurrencyTest, ReferencesAreTakenAndGivenBackFromManyThreads) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 1000; ++round) okapi_model_unref(okapi_model_ref(model_.get()));
    });
  }
  for (std::thread& thread : threads) thread.join();
  okapi_model_info info = OKAPI_MODEL_INFO_INIT;
  EXPECT_EQ(okapi_model_get_info(model_.get(), &info, nullptr), OKAPI_OK);
}

TEST_F(ConcurrencyTest, TokenizersAndTasksServeSeveralThreads) {
  const TokenizerPtr tokenizer =
      create<TokenizerPtr>([&](okapi_tokenizer** out, okapi_error** error) {
        return okapi_model_get_tokenizer(model_.get(), out, error);
      });
  const TaskPtr task = create<TaskPtr>([&](okapi_task** out, okapi_error** error) {
    return okapi_task_open(runtime_.get(), "lines",
                           R"({"style": "compact", "length": 64, "n_samples": 8})", 1,
                           tokenizer.get(), nullptr, out, error);
  });
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int64_t item = 0; item < 8; ++item) {
        EXPECT_EQ(okapi_task_item(task.get(), (item + i) % 8, nullptr, 0, nullptr, nullptr),
                  OKAPI_OK);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}
