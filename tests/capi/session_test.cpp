#include <okapi/session.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

class SessionTest : public testing::Test {
 protected:
  SessionTest() {
    write_model(folder_.path());
    model_ = open_model(runtime_.get(), folder_.path());
  }

  static std::vector<float> copied(const float* logits) {
    return logits == nullptr ? std::vector<float>()
                             : std::vector<float>(logits, logits + kVocabSize);
  }

  static std::vector<int32_t> tokens_of(okapi_session* session) {
    size_t n = 0;
    EXPECT_EQ(okapi_session_tokens(session, nullptr, 0, &n, nullptr), OKAPI_OK);
    std::vector<int32_t> ids(n);
    EXPECT_EQ(okapi_session_tokens(session, ids.data(), n, nullptr, nullptr), OKAPI_OK);
    EXPECT_EQ(okapi_session_n_tokens(session), static_cast<int64_t>(n));
    return ids;
  }

  /// Expects the logits after `ids` and one more token to be what a new session says.
  void expect_continues(okapi_session* session, std::vector<int32_t> ids) {
    const float* logits = nullptr;
    EXPECT_EQ(okapi_session_decode(session, 42, &logits, nullptr), OKAPI_OK);
    ids.push_back(42);
    EXPECT_EQ(tokens_of(session), ids);
    EXPECT_LT(distance(copied(logits), prefill(make_session(model_.get()).get(), ids)), kRounding);
  }

  Outcome try_create(const okapi_session_options& options) {
    okapi_session* session = nullptr;
    Outcome outcome = call([&](okapi_error** error) {
      return okapi_session_create(model_.get(), &options, &session, error);
    });
    EXPECT_EQ(outcome.status == OKAPI_OK, session != nullptr);
    okapi_session_unref(session);
    return outcome;
  }

  struct Generated {
    Outcome outcome;
    std::vector<int32_t> ids;
    int32_t stop_reason = -1;
  };

  static Generated generate(okapi_session* session, const std::vector<int32_t>& prompt,
                            const okapi_generate_options* options, size_t capacity = 256) {
    Generated made;
    made.ids.assign(capacity, -1);
    size_t n_ids = 99;
    made.outcome = call([&](okapi_error** error) {
      return okapi_session_generate(session, prompt.data(), static_cast<int64_t>(prompt.size()),
                                    options, made.ids.data(), capacity, &n_ids, &made.stop_reason,
                                    error);
    });
    EXPECT_LE(n_ids, capacity);
    made.ids.resize(std::min(n_ids, capacity));
    return made;
  }

  TemporaryFolder folder_;
  RuntimePtr runtime_ = make_runtime();
  ModelPtr model_;
};

}  // namespace

TEST_F(SessionTest, ChunksAndSingleTokensGiveTheSameLogits) {
  const std::vector<int32_t> ids = some_ids(9);
  const std::vector<float> whole = prefill(make_session(model_.get()).get(), ids);

  const SessionPtr session = make_session(model_.get());
  prefill(session.get(), {ids.begin(), ids.begin() + 4});
  prefill(session.get(), {ids.begin() + 4, ids.begin() + 8});
  const float* logits = nullptr;
  EXPECT_EQ(okapi_session_decode(session.get(), ids[8], &logits, nullptr), OKAPI_OK);
  EXPECT_LT(distance(copied(logits), whole), kRounding);
  EXPECT_EQ(tokens_of(session.get()), ids);
}

TEST_F(SessionTest, LogitsMayBeLeftOut) {
  const std::vector<int32_t> ids = some_ids(3);
  const SessionPtr session = make_session(model_.get());
  EXPECT_EQ(okapi_session_prefill(session.get(), ids.data(), 3, nullptr, nullptr), OKAPI_OK);
  expect_continues(session.get(), ids);
}

TEST_F(SessionTest, WrongTokensAreNamedAndChangeNothing) {
  const SessionPtr session = make_session(model_.get());
  const std::vector<int32_t> ids = some_ids(3);
  prefill(session.get(), ids);
  const auto try_prefill = [&](const std::vector<int32_t>& wrong, int64_t n) {
    const float* logits = reinterpret_cast<const float*>(alignof(float));
    Outcome outcome = call([&](okapi_error** error) {
      return okapi_session_prefill(session.get(), wrong.data(), n, &logits, error);
    });
    EXPECT_EQ(logits, nullptr);
    return outcome;
  };
  EXPECT_EQ(try_prefill({5, static_cast<int32_t>(kVocabSize)}, 2).status, OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(try_prefill({5, -1}, 2).status, OKAPI_INVALID_ARGUMENT);
  expect_refusal(try_prefill({5}, 0), OKAPI_INVALID_ARGUMENT, "n_tokens");
  EXPECT_EQ(try_prefill({5}, 0).message(), "n_tokens must be at least 1, is 0");
  expect_refusal(try_prefill({5}, -3), OKAPI_INVALID_ARGUMENT, "n_tokens");
  expect_continues(session.get(), ids);
}

TEST_F(SessionTest, MoreThanFitsIsOutOfRangeAndChangesNothing) {
  okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
  options.context_length = 4;
  const SessionPtr session = make_session(model_.get(), &options);
  const std::vector<int32_t> ids = some_ids(3);
  prefill(session.get(), ids);
  EXPECT_EQ(okapi_session_prefill(session.get(), ids.data(), 2, nullptr, nullptr),
            OKAPI_OUT_OF_RANGE);
  expect_continues(session.get(), ids);
  EXPECT_EQ(okapi_session_decode(session.get(), 5, nullptr, nullptr), OKAPI_OUT_OF_RANGE);
}

TEST_F(SessionTest, ScoreAgreesWithTheLogits) {
  const std::vector<int32_t> ids = some_ids(6);
  std::vector<float> nll(6);
  std::vector<float> logits(6 * kVocabSize);
  const SessionPtr session = make_session(model_.get());
  ASSERT_EQ(okapi_session_score(session.get(), ids.data(), 6, nll.data(), logits.data(), nullptr),
            OKAPI_OK);
  EXPECT_TRUE(std::isnan(nll[0]));
  for (size_t i = 1; i < 6; ++i) {
    // -log softmax, in double, of the row before.
    const float* row = &logits[(i - 1) * kVocabSize];
    double sum = 0;
    for (int64_t id = 0; id < kVocabSize; ++id) sum += std::exp(static_cast<double>(row[id]));
    EXPECT_NEAR(nll[i], std::log(sum) - row[ids[i]], kRounding) << i;
  }
  const std::vector<float> last(logits.end() - kVocabSize, logits.end());
  EXPECT_LT(distance(last, prefill(make_session(model_.get()).get(), ids)), kRounding);

  // Continued, the first token has something that predicts it.
  float next = 0;
  ASSERT_EQ(okapi_session_score(session.get(), ids.data(), 1, &next, nullptr, nullptr), OKAPI_OK);
  EXPECT_TRUE(std::isfinite(next));
  EXPECT_EQ(okapi_session_score(session.get(), ids.data(), 1, nullptr, nullptr, nullptr), OKAPI_OK);
  EXPECT_EQ(okapi_session_n_tokens(session.get()), 8);
}

TEST_F(SessionTest, ABatchGivesEachWhatItWouldGetAlone) {
  const std::vector<std::vector<int32_t>> ids = {some_ids(5), some_ids(1, 9), some_ids(17, 3)};
  std::vector<SessionPtr> sessions;
  std::vector<okapi_session*> batch;
  std::vector<const int32_t*> tokens;
  std::vector<int64_t> n_tokens;
  for (const auto& one : ids) {
    sessions.push_back(make_session(model_.get()));
    batch.push_back(sessions.back().get());
    tokens.push_back(one.data());
    n_tokens.push_back(static_cast<int64_t>(one.size()));
  }
  std::vector<const float*> logits(3);
  ASSERT_EQ(okapi_session_advance_batch(batch.data(), 3, tokens.data(), n_tokens.data(),
                                        logits.data(), nullptr),
            OKAPI_OK);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_LT(distance(copied(logits[i]), prefill(make_session(model_.get()).get(), ids[i])),
              kRounding);
  }
  EXPECT_EQ(okapi_session_advance_batch(batch.data(), 3, tokens.data(), n_tokens.data(), nullptr,
                                        nullptr),
            OKAPI_OK);
  EXPECT_EQ(okapi_session_n_tokens(batch[2]), 34);
}

TEST_F(SessionTest, ABatchThatFailsChangesNoSession) {
  const SessionPtr first = make_session(model_.get());
  const SessionPtr second = make_session(model_.get());
  const std::vector<int32_t> good = some_ids(3);
  const std::vector<int32_t> bad = {-1};
  const auto advance = [](std::vector<okapi_session*> sessions, std::vector<const int32_t*> tokens,
                          std::vector<int64_t> n_tokens) {
    return call([&](okapi_error** error) {
      return okapi_session_advance_batch(sessions.data(), sessions.size(), tokens.data(),
                                         n_tokens.data(), nullptr, error);
    });
  };
  EXPECT_EQ(advance({first.get(), second.get()}, {good.data(), bad.data()}, {3, 1}).status,
            OKAPI_INVALID_ARGUMENT);
  expect_refusal(advance({first.get(), nullptr}, {good.data(), good.data()}, {3, 3}),
                 OKAPI_INVALID_ARGUMENT, "sessions[1]");
  expect_refusal(advance({first.get(), second.get()}, {good.data(), good.data()}, {3, 0}),
                 OKAPI_INVALID_ARGUMENT, "n_tokens[1]");
  expect_refusal(advance({}, {}, {}), OKAPI_INVALID_ARGUMENT, "n_sessions");
  EXPECT_EQ(advance({first.get(), first.get()}, {good.data(), good.data()}, {3, 3}).status,
            OKAPI_INVALID_ARGUMENT)
      << "the same session twice";
  const ModelPtr other = make_random_model(runtime_.get());
  const SessionPtr stranger = make_session(other.get());
  EXPECT_EQ(advance({first.get(), stranger.get()}, {good.data(), good.data()}, {3, 3}).status,
            OKAPI_INVALID_ARGUMENT)
      << "another model's session";
  EXPECT_EQ(okapi_session_n_tokens(first.get()), 0);
  EXPECT_EQ(okapi_session_n_tokens(second.get()), 0);
}

TEST_F(SessionTest, ABatchGeneratesWhatEachWouldAlone) {
  const std::vector<std::vector<int32_t>> prompts = {some_ids(5), some_ids(1, 9), some_ids(17, 3)};
  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  options.max_tokens = 7;
  options.ignore_eos = 1;
  options.temperature = 0.5F;
  options.seed = 3;
  std::vector<Generated> alone;
  for (const auto& prompt : prompts) {
    alone.push_back(generate(make_session(model_.get()).get(), prompt, &options, 7));
  }
  // Of one of them the output ends before the others'.
  const int32_t early = alone[1].ids[2];
  options.stop_ids = &early;
  options.n_stop_ids = 1;
  for (size_t i = 0; i < 3; ++i) {
    alone[i] = generate(make_session(model_.get()).get(), prompts[i], &options, 7);
  }
  ASSERT_EQ(alone[1].stop_reason, OKAPI_STOP_ID);

  std::vector<SessionPtr> sessions;
  std::vector<okapi_session*> batch;
  std::vector<const int32_t*> fed;
  std::vector<int64_t> n_fed;
  std::vector<std::vector<int32_t>> ids(3, std::vector<int32_t>(7));
  std::vector<int32_t*> out;
  for (size_t i = 0; i < 3; ++i) {
    sessions.push_back(make_session(model_.get()));
    batch.push_back(sessions.back().get());
    fed.push_back(prompts[i].data());
    n_fed.push_back(static_cast<int64_t>(prompts[i].size()));
    out.push_back(ids[i].data());
  }
  std::vector<size_t> n_ids(3);
  std::vector<int32_t> stop_reasons(3);
  ASSERT_EQ(okapi_session_generate_batch(batch.data(), 3, fed.data(), n_fed.data(), &options,
                                         out.data(), 7, n_ids.data(), stop_reasons.data(), nullptr),
            OKAPI_OK);
  for (size_t i = 0; i < 3; ++i) {
    ids[i].resize(n_ids[i]);
    EXPECT_EQ(ids[i], alone[i].ids) << i;
    EXPECT_EQ(stop_reasons[i], alone[i].stop_reason) << i;
    EXPECT_EQ(okapi_session_n_tokens(batch[i]),
              static_cast<int64_t>(prompts[i].size() + ids[i].size()));
  }
}

TEST_F(SessionTest, ABatchThatCannotGenerateChangesNoSession) {
  const SessionPtr first = make_session(model_.get());
  const SessionPtr second = make_session(model_.get());
  const std::vector<int32_t> good = some_ids(3);
  const std::vector<int32_t> bad = {-1};
  ASSERT_FALSE(prefill(first.get(), good).empty());
  std::vector<int32_t> ids(2 * 4);
  std::vector<size_t> n_ids(2, 9);
  const auto run = [&](std::vector<okapi_session*> sessions, std::vector<const int32_t*> prompts,
                       std::vector<int64_t> n_prompts, size_t capacity = 4,
                       okapi_token_callback on_token = nullptr) {
    okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
    options.max_tokens = 4;
    options.on_token = on_token;
    std::vector<int32_t*> out = {ids.data(), ids.data() + 4};
    return call([&](okapi_error** error) {
      return okapi_session_generate_batch(sessions.data(), sessions.size(), prompts.data(),
                                          n_prompts.data(), &options, out.data(), capacity,
                                          n_ids.data(), nullptr, error);
    });
  };
  EXPECT_EQ(run({first.get(), second.get()}, {good.data(), bad.data()}, {3, 1}).status,
            OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(n_ids, (std::vector<size_t>{0, 0}));
  EXPECT_EQ(run({first.get(), second.get()}, {good.data(), nullptr}, {3, 0}).status,
            OKAPI_INVALID_ARGUMENT)
      << "neither a prompt nor tokens held";
  expect_refusal(run({first.get(), nullptr}, {good.data(), good.data()}, {3, 3}),
                 OKAPI_INVALID_ARGUMENT, "sessions[1]");
  expect_refusal(run({first.get(), second.get()}, {good.data(), nullptr}, {3, 3}),
                 OKAPI_INVALID_ARGUMENT, "prompts[1]");
  expect_refusal(run({first.get(), second.get()}, {good.data(), good.data()}, {3, -1}),
                 OKAPI_INVALID_ARGUMENT, "n_prompts[1]");
  expect_refusal(run({first.get(), second.get()}, {good.data(), good.data()}, {3, 3}, 3),
                 OKAPI_OUT_OF_RANGE, "capacity");
  expect_refusal(run({first.get(), second.get()}, {good.data(), good.data()}, {3, 3}, 4,
                     [](int32_t, const char*, size_t, void*) { return 0; }),
                 OKAPI_INVALID_ARGUMENT, "options.on_token");
  EXPECT_EQ(run({first.get(), first.get()}, {good.data(), good.data()}, {3, 3}).status,
            OKAPI_INVALID_ARGUMENT)
      << "the same session twice";
  EXPECT_EQ(okapi_session_n_tokens(first.get()), 3);
  EXPECT_EQ(okapi_session_n_tokens(second.get()), 0);
}

TEST_F(SessionTest, GreedyGenerationTakesTheLikeliestToken) {
  const std::vector<int32_t> prompt = some_ids(4);
  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  options.max_tokens = 5;
  options.ignore_eos = 1;
  const SessionPtr session = make_session(model_.get());
  const Generated made = generate(session.get(), prompt, &options, 5);
  EXPECT_EQ(made.outcome.status, OKAPI_OK) << made.outcome.message();
  EXPECT_EQ(made.stop_reason, OKAPI_STOP_LENGTH);
  ASSERT_EQ(made.ids.size(), 5U);

  const SessionPtr by_hand = make_session(model_.get());
  std::vector<float> logits = prefill(by_hand.get(), prompt);
  for (const int32_t id : made.ids) {
    EXPECT_EQ(id, std::max_element(logits.begin(), logits.end()) - logits.begin());
    logits = prefill(by_hand.get(), {id});
  }
  std::vector<int32_t> held = prompt;
  held.insert(held.end(), made.ids.begin(), made.ids.end());
  EXPECT_EQ(tokens_of(session.get()), held) << "the output counts as fed";
}

TEST_F(SessionTest, SamplingDependsOnTheSeed) {
  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  options.max_tokens = 12;
  options.temperature = 1;
  options.top_k = 50;
  options.top_p = 0.95F;
  options.ignore_eos = 1;
  const auto sample = [&](uint64_t seed) {
    options.seed = seed;
    return generate(make_session(model_.get()).get(), some_ids(4), &options).ids;
  };
  EXPECT_EQ(sample(1), sample(1));
  EXPECT_NE(sample(1), sample(2));
}

TEST_F(SessionTest, StopRulesEndAnOutput) {
  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  options.max_tokens = 8;
  options.ignore_eos = 1;
  const std::vector<int32_t> prompt = some_ids(4);
  const std::vector<int32_t> all = generate(make_session(model_.get()).get(), prompt, &options).ids;
  ASSERT_EQ(all.size(), 8U);

  // The first output id that did not occur before it, so that it stops there and nowhere earlier.
  options.stop_ids = &all[0];
  options.n_stop_ids = 1;
  Generated made = generate(make_session(model_.get()).get(), prompt, &options);
  EXPECT_EQ(made.ids, std::vector<int32_t>({all[0]}));
  EXPECT_EQ(made.stop_reason, OKAPI_STOP_ID);

  options.min_tokens = 3;
  made = generate(make_session(model_.get()).get(), prompt, &options);
  EXPECT_GE(made.ids.size(), 3U);

  options.stop_ids = nullptr;
  options.n_stop_ids = 0;
  options.min_tokens = 0;
  options.on_token = [](int32_t, const char* text, size_t n_bytes, void* user_data) -> int32_t {
    EXPECT_NE(text, nullptr);
    static_cast<std::string*>(user_data)->append(text, n_bytes);
    return 1;
  };
  std::string heard;
  options.on_token_user_data = &heard;
  made = generate(make_session(model_.get()).get(), prompt, &options);
  EXPECT_EQ(made.ids, std::vector<int32_t>({all[0]}));
  EXPECT_EQ(made.stop_reason, OKAPI_STOP_CALLBACK);
}

TEST_F(SessionTest, AStopTextIsPartOfTheOutputItEnds) {
  const TokenizerPtr tokenizer =
      create<TokenizerPtr>([&](okapi_tokenizer** out, okapi_error** error) {
        return okapi_model_get_tokenizer(model_.get(), out, error);
      });
  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  options.max_tokens = 64;
  options.temperature = 1;
  options.ignore_eos = 1;
  std::string heard;
  options.on_token_user_data = &heard;
  options.on_token = [](int32_t, const char* text, size_t n_bytes, void* user_data) -> int32_t {
    static_cast<std::string*>(user_data)->append(text, n_bytes);
    return 0;
  };
  const std::vector<int32_t> prompt = some_ids(4);
  generate(make_session(model_.get()).get(), prompt, &options);
  ASSERT_GT(heard.size(), 8U);

  // Two ASCII characters from the middle of what was heard.
  size_t at = heard.size() / 3;
  while (at + 2 < heard.size() && (heard[at] <= ' ' || heard[at + 1] <= ' ')) ++at;
  const std::string stop = heard.substr(at, 2);
  const char* stop_texts[] = {stop.c_str()};
  options.stop_texts = stop_texts;
  options.n_stop_texts = 1;
  heard.clear();
  const Generated made = generate(make_session(model_.get()).get(), prompt, &options);
  EXPECT_EQ(made.stop_reason, OKAPI_STOP_TEXT);
  EXPECT_LT(made.ids.size(), 64U);
  EXPECT_THAT(heard, testing::HasSubstr(stop));
}

TEST_F(SessionTest, BadGenerateOptionsAreNamed) {
  const SessionPtr session = make_session(model_.get());
  const auto refused = [&](auto change, const char* field,
                           okapi_status status = OKAPI_INVALID_ARGUMENT) {
    okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
    options.max_tokens = 4;
    change(options);
    expect_refusal(generate(session.get(), some_ids(2), &options, 8).outcome, status, field);
  };
  const char* null_text[] = {nullptr};
  refused([](auto& options) { options.max_tokens = -1; }, "options.max_tokens");
  refused([](auto& options) { options.min_tokens = -1; }, "options.min_tokens");
  refused([](auto& options) { options.top_k = -1; }, "options.top_k");
  refused([](auto& options) { options.ignore_eos = 2; }, "options.ignore_eos");
  refused([](auto& options) { options.reserved[0] = 1; }, "options.reserved");
  refused([](auto& options) { options.n_stop_ids = 1; }, "options.stop_ids");
  refused([](auto& options) { options.n_stop_texts = 1; }, "options.stop_texts");
  refused(
      [&](auto& options) {
        options.stop_texts = null_text;
        options.n_stop_texts = 1;
      },
      "options.stop_texts[0]");
  refused([](auto& options) { options.max_tokens = 9; }, "capacity", OKAPI_OUT_OF_RANGE);

  const auto fails = [&](auto change) {
    okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
    options.max_tokens = 4;
    change(options);
    return generate(session.get(), some_ids(2), &options, 8).outcome.status;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(fails([](auto& options) { options.temperature = -1; }), OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(fails([&](auto& options) { options.temperature = nan; }), OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(fails([](auto& options) { options.top_p = 1.5F; }), OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(okapi_session_n_tokens(session.get()), 0);

  // Nothing to continue from.
  EXPECT_EQ(generate(session.get(), {}, nullptr).outcome.status, OKAPI_INVALID_ARGUMENT);
}

TEST_F(SessionTest, StopTextsNeedATokenizer) {
  const ModelPtr bare = make_random_model(runtime_.get());
  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  const char* texts[] = {"x"};
  options.stop_texts = texts;
  options.n_stop_texts = 1;
  EXPECT_EQ(generate(make_session(bare.get()).get(), some_ids(2), &options).outcome.status,
            OKAPI_FAILED_PRECONDITION);
}

TEST_F(SessionTest, ACancelledGenerationTellsWhatItHadAndLeavesTheSession) {
  const CancelPtr cancel = create<CancelPtr>(
      [](okapi_cancel** out, okapi_error** error) { return okapi_cancel_create(out, error); });
  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  options.ignore_eos = 1;
  options.cancel = cancel.get();
  struct State {
    okapi_cancel* cancel;
    int n = 0;
  } state = {cancel.get()};
  options.on_token_user_data = &state;
  options.on_token = [](int32_t, const char*, size_t, void* user_data) -> int32_t {
    auto* heard = static_cast<State*>(user_data);
    if (++heard->n == 3) okapi_cancel_request(heard->cancel);
    return 0;
  };
  const SessionPtr session = make_session(model_.get());
  const std::vector<int32_t> held = some_ids(3);
  prefill(session.get(), held);
  const Generated made = generate(session.get(), some_ids(4), &options);
  EXPECT_EQ(made.outcome.status, OKAPI_CANCELLED);
  EXPECT_EQ(made.ids.size(), 3U);
  expect_continues(session.get(), held);
}

TEST_F(SessionTest, ASessionsOwnCancelTokenStopsItsCalls) {
  CancelPtr cancel = create<CancelPtr>(
      [](okapi_cancel** out, okapi_error** error) { return okapi_cancel_create(out, error); });
  const SessionPtr session = make_session(model_.get());
  ASSERT_EQ(okapi_session_set_cancel(session.get(), cancel.get(), nullptr), OKAPI_OK);
  okapi_cancel_request(cancel.get());
  cancel.reset();  // the session holds it
  const std::vector<int32_t> ids = some_ids(3);
  EXPECT_EQ(okapi_session_prefill(session.get(), ids.data(), 3, nullptr, nullptr), OKAPI_CANCELLED);
  EXPECT_EQ(okapi_session_n_tokens(session.get()), 0);
  ASSERT_EQ(okapi_session_set_cancel(session.get(), nullptr, nullptr), OKAPI_OK);
  EXPECT_EQ(okapi_session_prefill(session.get(), ids.data(), 3, nullptr, nullptr), OKAPI_OK);
}

TEST_F(SessionTest, TruncateForgetsTheRest) {
  const SessionPtr session = make_session(model_.get());
  const std::vector<int32_t> ids = some_ids(9);
  prefill(session.get(), ids);
  ASSERT_EQ(okapi_session_truncate(session.get(), 4, nullptr), OKAPI_OK);
  expect_continues(session.get(), {ids.begin(), ids.begin() + 4});
  EXPECT_EQ(okapi_session_truncate(session.get(), 6, nullptr), OKAPI_OUT_OF_RANGE);
  expect_refusal(
      call([&](okapi_error** error) { return okapi_session_truncate(session.get(), -1, error); }),
      OKAPI_INVALID_ARGUMENT, "n_tokens");
}

TEST_F(SessionTest, AForkGoesItsOwnWay) {
  SessionPtr session = make_session(model_.get());
  const std::vector<int32_t> ids = some_ids(5);
  prefill(session.get(), ids);
  const SessionPtr fork = create<SessionPtr>([&](okapi_session** out, okapi_error** error) {
    return okapi_session_fork(session.get(), out, error);
  });
  prefill(fork.get(), {1, 2, 3});
  expect_continues(session.get(), ids);
  session.reset();
  std::vector<int32_t> longer = ids;
  longer.insert(longer.end(), {1, 2, 3});
  expect_continues(fork.get(), longer);
}

TEST_F(SessionTest, SavedSessionsAreRestored) {
  const std::string path = (folder_.path() / "session.safetensors").string();
  const std::vector<int32_t> ids = some_ids(5);
  const SessionPtr session = make_session(model_.get());
  prefill(session.get(), ids);
  ASSERT_EQ(okapi_session_save(session.get(), path.c_str(), nullptr), OKAPI_OK);
  const SessionPtr restored = create<SessionPtr>([&](okapi_session** out, okapi_error** error) {
    return okapi_session_restore(model_.get(), path.c_str(), out, error);
  });
  expect_continues(restored.get(), ids);

  const auto try_restore = [&](okapi_model* model, const std::string& from) {
    okapi_session* made = nullptr;
    const Outcome outcome = call([&](okapi_error** error) {
      return okapi_session_restore(model, from.c_str(), &made, error);
    });
    EXPECT_EQ(made, nullptr);
    return outcome.status;
  };
  const ModelPtr other = make_random_model(runtime_.get());
  EXPECT_EQ(try_restore(other.get(), path), OKAPI_FAILED_PRECONDITION);
  EXPECT_EQ(try_restore(model_.get(), path + ".missing"), OKAPI_NOT_FOUND);
  EXPECT_EQ(try_restore(model_.get(), folder_.write("cut", "\x01").string()), OKAPI_DATA_LOSS);
  EXPECT_NE(okapi_session_save(session.get(), "/no/such/folder/x", nullptr), OKAPI_OK);
}

TEST_F(SessionTest, OptionsReachTheEngine) {
  const std::vector<int32_t> ids = some_ids(6);
  const std::vector<float> plain = prefill(make_session(model_.get()).get(), ids);

  const RopePtr rope = make_rope(model_.get(), "linear:scale=4");
  okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
  options.rope = rope.get();
  const std::vector<float> linear = prefill(make_session(model_.get(), &options).get(), ids);
  EXPECT_GT(distance(linear, plain), kRounding);

  options.raw_keys = 1;
  options.prefill_chunk = 2;
  EXPECT_LT(distance(prefill(make_session(model_.get(), &options).get(), ids), linear), kRounding);
  options.deterministic = 1;
  const SessionPtr deterministic = make_session(model_.get(), &options);
  EXPECT_LT(distance(prefill(deterministic.get(), ids), linear), kRounding);
  EXPECT_EQ(json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
              return okapi_session_describe(deterministic.get(), buffer, capacity, needed, error);
            })["deterministic"],
            true);

  // Positions a quarter as far apart are linear with scale 4.
  options = OKAPI_SESSION_OPTIONS_INIT;
  const std::vector<double> positions = {0, 0.25, 0.5, 0.75, 1, 1.25};
  options.positions = positions.data();
  options.n_positions = positions.size();
  const SessionPtr session = make_session(model_.get(), &options);
  EXPECT_LT(distance(prefill(session.get(), ids), linear), kRounding);
  EXPECT_EQ(okapi_session_decode(session.get(), 5, nullptr, nullptr), OKAPI_OUT_OF_RANGE)
      << "past the positions given";
}

TEST_F(SessionTest, BadOptionsAreNamed) {
  const auto refused = [&](auto change, const char* field) {
    okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
    change(options);
    expect_refusal(try_create(options), OKAPI_INVALID_ARGUMENT, field);
  };
  refused([](auto& options) { options.raw_keys = 2; }, "options.raw_keys");
  refused([](auto& options) { options.deterministic = 2; }, "options.deterministic");
  refused([](auto& options) { options.reserved[1] = 9; }, "options.reserved");
  refused([](auto& options) { options.rope_length = -2; }, "options.rope_length");
  refused([](auto& options) { options.context_length = -1; }, "options.context_length");
  refused([](auto& options) { options.prefill_chunk = -1; }, "options.prefill_chunk");
  refused([](auto& options) { options.n_positions = 1; }, "options.positions");
  refused([](auto& options) { options.struct_size = 0; }, "options.struct_size");

  okapi_rope_shape shape = OKAPI_ROPE_SHAPE_INIT;
  shape.head_dim = 32;
  shape.trained_length = 64;
  const RopePtr other = create<RopePtr>([&](okapi_rope** out, okapi_error** error) {
    return okapi_rope_create_for_shape(runtime_.get(), &shape, "plain", out, error);
  });
  okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
  options.rope = other.get();
  EXPECT_EQ(try_create(options).status, OKAPI_INVALID_ARGUMENT) << "read against another geometry";
}

TEST_F(SessionTest, DescribesItself) {
  okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
  options.rope_length = 128;
  const SessionPtr session = make_session(model_.get(), &options);
  prefill(session.get(), some_ids(3));
  const okapi::Json json =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_session_describe(session.get(), buffer, capacity, needed, error);
      });
  EXPECT_EQ(json["rope_length"], 128);
  EXPECT_EQ(json["n_tokens"], 3);
  EXPECT_GT(json["cache_bytes"], 0);
}

// A callback that throws breaks its promise, and stands here for any failure that nobody foresaw.
TEST_F(SessionTest, AnUnforeseenFailureSpoilsTheSessionAndItsFirstCauseIsTold) {
  const SessionPtr session = make_session(model_.get());
  prefill(session.get(), some_ids(3));
  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  options.on_token = [](int32_t, const char*, size_t, void*) -> int32_t {
    throw std::runtime_error("the first cause");
  };
  EXPECT_EQ(generate(session.get(), some_ids(2), &options).outcome.status, OKAPI_INTERNAL);

  const int32_t id = 5;
  const Outcome outcome = call([&](okapi_error** error) {
    return okapi_session_prefill(session.get(), &id, 1, nullptr, error);
  });
  EXPECT_EQ(outcome.status, OKAPI_FAILED_PRECONDITION);
  ASSERT_NE(okapi_error_cause(outcome.error.get()), nullptr);
  EXPECT_STREQ(okapi_error_message(okapi_error_cause(outcome.error.get())), "the first cause");

  okapi_session* fork = nullptr;
  EXPECT_EQ(okapi_session_fork(session.get(), &fork, nullptr), OKAPI_FAILED_PRECONDITION);
  EXPECT_EQ(okapi_session_save(session.get(), "unused", nullptr), OKAPI_FAILED_PRECONDITION);
  EXPECT_EQ(okapi_session_truncate(session.get(), 0, nullptr), OKAPI_FAILED_PRECONDITION);
  EXPECT_EQ(generate(session.get(), {5}, nullptr).outcome.status, OKAPI_FAILED_PRECONDITION);
  EXPECT_EQ(okapi_session_describe(session.get(), nullptr, 0, nullptr, nullptr),
            OKAPI_FAILED_PRECONDITION);
}

TEST_F(SessionTest, ReferencesAreCounted) {
  SessionPtr first = make_session(model_.get());
  const SessionPtr second(okapi_session_ref(first.get()));
  first.reset();
  EXPECT_EQ(okapi_session_n_tokens(second.get()), 0);
}
