#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <thread>

#include "runtime/base/error.h"
#include "runtime/generation/completion.h"
#include "runtime/kv_cache/page_pool.h"
#include "runtime/model/rotary/rope.h"
#include "tests/support/engine.h"

namespace okapi::test {
namespace {

constexpr int64_t kVocab = 128;
constexpr double kRounding = 2e-5;

std::shared_ptr<const Model> small_model() {
  static const std::shared_ptr<const Model> kModel =
      Model::random(engine(), small_config(kVocab), 7);
  return kModel;
}

std::shared_ptr<Session> make_session(SessionOptions options = {}) {
  return Session::create(small_model(), options);
}

std::vector<float> logits_after(std::span<const int32_t> ids) {
  const auto session = make_session();
  session->prefill(ids);
  return {session->logits().begin(), session->logits().end()};
}

/// The error of `call`, which must be one.
template <typename Call>
Error error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "did not fail";
  return Error(Code::ok, "");
}

std::vector<int32_t> concat(std::span<const int32_t> a, std::span<const int32_t> b) {
  std::vector<int32_t> both(a.begin(), a.end());
  both.insert(both.end(), b.begin(), b.end());
  return both;
}

// ---- batches ------------------------------------------------------------------------------------

/// What `n_sequences` sequences of different lengths predict after each of some steps taken
/// together, deterministically: the first gets the same ids whatever stands beside it.
std::vector<std::vector<float>> first_of(int64_t n_sequences, const ModelOptions& model_options) {
  const auto model = Model::random(engine(), small_config(kVocab), 7, model_options);
  SessionOptions options;
  options.deterministic = true;
  options.prefill_chunk = 48;
  std::vector<std::shared_ptr<Session>> sessions;
  std::vector<Session*> pointers;
  std::vector<std::vector<int32_t>> prompts;
  for (int64_t i = 0; i < n_sequences; ++i) {
    sessions.push_back(Session::create(model, options));
    pointers.push_back(sessions.back().get());
    // Longer and shorter ones than a chunk, and such that end with a few tokens after one.
    prompts.push_back(random_ids(i == 0 ? 53 : 1 + 13 * i, kVocab, 100 + i));
  }
  std::vector<std::vector<float>> logits;
  std::vector<std::span<const int32_t>> tokens(prompts.begin(), prompts.end());
  for (int32_t step = 0; step < 4; ++step) {
    Session::advance_batch(pointers, tokens);
    logits.emplace_back(sessions[0]->logits().begin(), sessions[0]->logits().end());
    for (size_t i = 0; i < prompts.size(); ++i) {
      prompts[i] = {static_cast<int32_t>(3 + step + i)};
      tokens[i] = prompts[i];
    }
  }
  return logits;
}

// To the bit: compared with ==. Forty sequences are more than one product treats alike.
TEST(SessionTest, DeterministicResultsDoNotDependOnTheBatch) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    ModelOptions options;
    options.dtype = dtype;
    const auto alone = first_of(1, options);
    for (const int64_t n_sequences : {2, 4, 16, 40}) {
      EXPECT_EQ(first_of(n_sequences, options), alone) << n_sequences;
    }
  }
}

TEST(SessionTest, StepsOfABatchChooseWhatGenerateDoes) {
  GenerateOptions options;
  options.temperature = 0.8F;
  options.top_k = 20;
  options.top_p = 0.9F;
  options.max_tokens = 6;
  options.ignore_eos = true;
  std::vector<std::shared_ptr<Session>> sessions;
  std::vector<std::vector<int32_t>> prompts;
  std::vector<Completion> completions;
  completions.reserve(3);
  std::vector<SessionStep> steps;
  for (uint64_t i = 0; i < 3; ++i) {
    options.seed = i;
    sessions.push_back(make_session());
    prompts.push_back(random_ids(20 + 9 * static_cast<int64_t>(i), kVocab, i));
    completions.emplace_back(*small_model(), options);
    // The second one's prompt comes in two parts, and nothing is chosen in between.
    const size_t n_first = i == 1 ? 7 : prompts[i].size();
    steps.push_back({sessions[i].get(), std::span<const int32_t>(prompts[i]).first(n_first),
                     i == 1 ? nullptr : &completions[i]});
  }
  Session::advance_batch(steps);
  EXPECT_TRUE(completions[1].ids().empty());
  steps[1] = {sessions[1].get(), std::span<const int32_t>(prompts[1]).subspan(7), &completions[1]};
  while (!completions[1].has_ended()) {
    std::vector<SessionStep> going;
    for (size_t i = 0; i < 3; ++i) {
      if (completions[i].has_ended()) continue;
      if (i != 1 || !completions[1].ids().empty()) {
        steps[i].tokens = std::span(completions[i].ids()).last(1);
      }
      going.push_back(steps[i]);
    }
    Session::advance_batch(going);
  }
  for (uint64_t i = 0; i < 3; ++i) {
    options.seed = i;
    Generation alone;
    make_session()->generate(prompts[i], options, &alone);
    EXPECT_EQ(completions[i].ids(), alone.ids) << i;
  }
}

TEST(SessionTest, ForkOfAPrefixGoesOnUnderEqualTablesAlone) {
  const std::vector<int32_t> ids = random_ids(80, kVocab, 5);
  const auto in_all = [&](const char* rope, int64_t rope_length) {
    SessionOptions options;
    options.rope = small_model()->parse_rope(rope);
    options.rope_length = rope_length;
    const auto session = make_session(options);
    session->expect(100);
    session->prefill(ids);
    return session;
  };
  // What the fork predicts is what a session of its own does.
  for (const char* rope : {"plain", "yarn:scale=4", "dynamic_ntk:scale=4"}) {
    const auto fork = in_all(rope, kRopeLengthAuto)->fork_prefix(60, 100);
    ASSERT_NE(fork, nullptr) << rope;
    EXPECT_EQ(fork->n_tokens(), 60);
    const auto own = in_all(rope, kRopeLengthAuto);
    own->truncate(60);
    own->expect(40);
    const std::vector<int32_t> rest = random_ids(9, kVocab, 6);
    fork->prefill(rest);
    own->prefill(rest);
    EXPECT_EQ(fork->declared_length(), own->declared_length()) << rope;
    EXPECT_LT(relative_error(fork->logits(), own->logits()), kRounding) << rope;
  }
  // Tables of 100 and of 120 tokens: the same, or not; at one declared length always the same.
  EXPECT_NE(in_all("yarn:scale=4", kRopeLengthAuto)->fork_prefix(60, 120), nullptr);
  EXPECT_EQ(in_all("dynamic_ntk:scale=4", kRopeLengthAuto)->fork_prefix(60, 120), nullptr);
  EXPECT_NE(in_all("dynamic_ntk:scale=4", 200)->fork_prefix(60, 120), nullptr);
  EXPECT_EQ(in_all("dynamic_ntk:scale=4", 200)->fork_prefix(60, 220), nullptr);
  EXPECT_EQ(in_all("dynamic_ntk:scale=4", kRopeLengthFollow)->fork_prefix(60, 100), nullptr);
}

// ---- fork, truncate, lifetimes ------------------------------------------------------------------

TEST(SessionTest, ForksGoTheirOwnWays) {
  // The prefix ends within a page, so that both write into what they share.
  const std::vector<int32_t> prefix =
      random_ids(small_model()->kv_layout().page_tokens + 5, kVocab, 1);
  const std::vector<int32_t> left = random_ids(9, kVocab, 2);
  const std::vector<int32_t> right = random_ids(70, kVocab, 3);
  const auto session = make_session();
  session->prefill(prefix);
  const auto fork = session->fork();
  session->prefill(left);
  fork->prefill(right);
  EXPECT_LT(relative_error(session->logits(), logits_after(concat(prefix, left))), kRounding);
  EXPECT_LT(relative_error(fork->logits(), logits_after(concat(prefix, right))), kRounding);

  // And once more, from within what was written since.
  const auto second = fork->fork();
  second->prefill(left);
  fork->prefill(prefix);
  EXPECT_LT(relative_error(second->logits(), logits_after(concat(concat(prefix, right), left))),
            kRounding);
}

TEST(SessionTest, ForksSharePagesUntilTheyWrite) {
  PagePool& pool = *small_model()->page_pool();
  const int64_t before = pool.n_pages_in_use();
  const int64_t page = small_model()->kv_layout().page_tokens;
  const auto session = make_session();
  session->prefill(random_ids(2 * page + 1, kVocab, 1));
  EXPECT_EQ(pool.n_pages_in_use() - before, 3);
  const auto fork = session->fork();
  EXPECT_EQ(pool.n_pages_in_use() - before, 3);
  fork->decode(5);
  EXPECT_EQ(pool.n_pages_in_use() - before, 4);  // the last page, which both continue in
  session->decode(6);
  EXPECT_EQ(pool.n_pages_in_use() - before, 4);  // its own by now
}

TEST(SessionTest, PagesComeBackInAnyOrderOfDestruction) {
  const int64_t before = small_model()->page_pool()->n_pages_in_use();
  const std::vector<int32_t> ids = random_ids(100, kVocab, 1);
  {
    auto session = make_session();
    session->prefill(ids);
    auto fork = session->fork();
    auto fork_of_fork = fork->fork();
    fork->decode(4);
    session = nullptr;
    fork_of_fork->decode(9);
    EXPECT_LT(relative_error(fork_of_fork->logits(), logits_after(concat(ids, std::vector{9}))),
              kRounding);
    fork = nullptr;
  }
  EXPECT_EQ(small_model()->page_pool()->n_pages_in_use(), before);
}

TEST(SessionTest, SessionOutlivesEveryHandleItWasMadeFrom) {
  RuntimeOptions options;
  options.module_path = OKAPI_BUILD_LIB "/okapi";
  auto context = RuntimeContext::create(std::move(options));
  std::shared_ptr<const Model> model = Model::random(context, small_config(kVocab), 7);
  SessionOptions session_options;
  session_options.rope = model->parse_rope("yarn:scale=2");
  auto session = Session::create(model, session_options);
  context = nullptr;
  model = nullptr;
  session_options.rope = nullptr;
  session->prefill(random_ids(20, kVocab, 1));
  EXPECT_EQ(session->logits().size(), static_cast<size_t>(kVocab));
  session = nullptr;
}

TEST(SessionTest, TruncatedSessionContinuesAsIfNothingHadFollowed) {
  const std::vector<int32_t> ids = random_ids(150, kVocab, 1);
  const std::vector<int32_t> other = random_ids(40, kVocab, 2);
  for (const size_t kept : {0, 1, 63, 64, 65, 100, 150}) {
    const auto session = make_session();
    session->prefill(ids);
    session->truncate(static_cast<int64_t>(kept));
    EXPECT_EQ(session->n_tokens(), static_cast<int64_t>(kept));
    EXPECT_EQ(session->logits().empty(), kept != ids.size());
    session->prefill(other);
    const std::vector<float> wanted = logits_after(concat(std::span(ids).first(kept), other));
    EXPECT_LT(relative_error(session->logits(), wanted), kRounding) << kept;
  }
  EXPECT_EQ(error_of([] { make_session()->truncate(1); }).code(), Code::out_of_range);
  EXPECT_EQ(error_of([] { make_session()->truncate(-1); }).code(), Code::out_of_range);
}

// ---- batches ------------------------------------------------------------------------------------

TEST(SessionTest, BatchIsAsEachAlone) {
  const char* specs[] = {"plain", "linear:scale=4", "yarn:scale=4", "xpos:scale_base=16", "plain"};
  const int64_t n_first[] = {1, 70, 33, 64, 5};
  const int64_t n_then[] = {3, 1, 1, 20, 1};
  std::vector<std::shared_ptr<Session>> together;
  std::vector<std::shared_ptr<Session>> alone;
  std::vector<Session*> batch;
  std::vector<std::vector<int32_t>> first;
  std::vector<std::vector<int32_t>> then;
  for (size_t i = 0; i < 5; ++i) {
    SessionOptions options;
    options.rope = small_model()->parse_rope(specs[i]);
    options.prefill_chunk = i == 3 ? 24 : 0;
    together.push_back(make_session(options));
    alone.push_back(make_session(options));
    batch.push_back(together.back().get());
    first.push_back(random_ids(n_first[i], kVocab, i));
    then.push_back(random_ids(n_then[i], kVocab, 10 + i));
  }
  for (const auto* step : {&first, &then}) {
    const std::vector<std::span<const int32_t>> tokens(step->begin(), step->end());
    Session::advance_batch(batch, tokens);
    for (size_t i = 0; i < 5; ++i) {
      alone[i]->prefill((*step)[i]);
      EXPECT_LT(relative_error(together[i]->logits(), alone[i]->logits()), kRounding) << specs[i];
    }
  }
}

TEST(SessionTest, FailedBatchChangesNoSession) {
  const auto a = make_session();
  SessionOptions options;
  options.context_length = 10;
  const auto b = make_session(options);
  const std::vector<int32_t> ids = random_ids(8, kVocab, 1);
  std::vector<Session*> batch = {a.get(), b.get()};
  std::vector<std::span<const int32_t>> tokens = {ids, ids};
  Session::advance_batch(batch, tokens);
  const Error error = error_of([&] { Session::advance_batch(batch, tokens); });
  EXPECT_EQ(error.code(), Code::out_of_range);
  EXPECT_EQ(error.field_name(), "context_length");
  EXPECT_EQ(a->n_tokens(), 8);
  EXPECT_EQ(b->n_tokens(), 8);
  EXPECT_FALSE(a->logits().empty());

  batch = {a.get(), a.get()};
  EXPECT_EQ(error_of([&] { Session::advance_batch(batch, tokens); }).code(),
            Code::invalid_argument);
  tokens = {ids, {}};
  batch = {a.get(), b.get()};
  EXPECT_EQ(error_of([&] { Session::advance_batch(batch, tokens); }).code(),
            Code::invalid_argument);
}

TEST(SessionTest, SessionsOfOneModelRunInParallel) {
  const std::vector<int32_t> ids = random_ids(90, kVocab, 1);
  const std::vector<float> wanted = logits_after(ids);
  std::vector<std::shared_ptr<Session>> sessions;
  for (int i = 0; i < 4; ++i) sessions.push_back(make_session());
  {
    std::vector<std::jthread> threads;
    for (const auto& session : sessions) {
      threads.emplace_back([&] {
        session->prefill(std::span(ids).first(60));
        const auto fork = session->fork();
        fork->decode(3);
        for (size_t i = 60; i < ids.size(); ++i) session->decode(ids[i]);
      });
    }
  }
  for (const auto& session : sessions) {
    EXPECT_LT(relative_error(session->logits(), wanted), kRounding);
  }
}

// ---- what is refused, and what a failure leaves behind ------------------------------------------

TEST(SessionTest, WrongIdsAreRefusedAndNamed) {
  const auto session = make_session();
  session->prefill(std::vector{4, 5});
  for (const int32_t id : {-1, static_cast<int32_t>(kVocab), 2147483647}) {
    const Error error = error_of([&] { session->prefill(std::vector{7, id}); });
    EXPECT_EQ(error.code(), Code::invalid_argument);
    EXPECT_EQ(error.field_name(), "tokens");
    EXPECT_THAT(error.message(), testing::HasSubstr("number 1 is " + std::to_string(id)));
  }
  EXPECT_EQ(error_of([&] { session->prefill({}); }).code(), Code::invalid_argument);
  EXPECT_THAT(session->tokens(), testing::ElementsAre(4, 5));
  EXPECT_FALSE(session->logits().empty());
}

TEST(SessionTest, ContextLengthIsTheMost) {
  SessionOptions options;
  options.context_length = 12;
  const auto session = make_session(options);
  session->prefill(random_ids(12, kVocab, 1));
  const Error error = error_of([&] { session->decode(3); });
  EXPECT_EQ(error.code(), Code::out_of_range);
  EXPECT_THAT(error.message(), testing::HasSubstr("13 tokens do not fit, there is room for 12"));
  EXPECT_EQ(session->n_tokens(), 12);

  SessionOptions with_positions;
  with_positions.positions = {0, 1.5, 3};
  const auto positioned = make_session(with_positions);
  positioned->prefill(std::vector{4, 5, 6});
  EXPECT_EQ(error_of([&] { positioned->decode(3); }).code(), Code::out_of_range);
}

TEST(SessionTest, ImpossibleOptionsAreRefused) {
  const auto field_of = [](const SessionOptions& options) {
    const Error error = error_of([&] { make_session(options); });
    EXPECT_EQ(error.code(), Code::invalid_argument);
    return error.field_name();
  };
  SessionOptions options;
  options.rope_length = -2;
  EXPECT_EQ(field_of(options), "rope_length");
  options = {};
  options.context_length = -1;
  EXPECT_EQ(field_of(options), "context_length");
  options = {};
  options.prefill_chunk = -1;
  EXPECT_EQ(field_of(options), "prefill_chunk");
  options = {};
  options.positions = {0, NAN};
  EXPECT_EQ(field_of(options), "positions");
  options = {};
  RopeGeometry other = small_model()->rope_geometry();
  other.head_dim = 32;
  other.rotary_dim = 32;
  options.rope = Rope::parse("plain", engine()->plugin_host(), other);
  EXPECT_EQ(field_of(options), "rope");
}

TEST(SessionTest, CancelledPrefillLeavesTheCacheAsItWas) {
  const std::vector<int32_t> ids = random_ids(40, kVocab, 1);
  // So many that they cannot all be done before the other thread gets its turn.
  const std::vector<int32_t> more = random_ids(30000, kVocab, 2);
  for (const char* spec : {"plain", "dynamic_ntk:scale=2"}) {
    SessionOptions options;
    options.rope = small_model()->parse_rope(spec);
    options.prefill_chunk = 16;
    const auto session = make_session(options);
    session->prefill(ids);
    const int64_t declared = session->declared_length();

    auto cancel = std::make_shared<CancelToken>();
    session->set_cancel(cancel);
    std::jthread canceller([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      cancel->request();
    });
    EXPECT_EQ(error_of([&] { session->prefill(more); }).code(), Code::cancelled);
    EXPECT_EQ(session->n_tokens(), 40);
    EXPECT_EQ(session->declared_length(), declared);

    session->set_cancel(nullptr);
    const auto fresh = make_session(options);
    fresh->prefill(ids);
    session->decode(9);
    fresh->decode(9);
    EXPECT_LT(relative_error(session->logits(), fresh->logits()), kRounding) << spec;
  }
}

// ---- score --------------------------------------------------------------------------------------

/// -log softmax in double: the definition.
double log_loss(std::span<const float> logits, int32_t target) {
  double highest = -INFINITY;
  for (const float logit : logits) highest = std::max(highest, static_cast<double>(logit));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  return highest + std::log(sum) - logits[static_cast<size_t>(target)];
}

TEST(SessionTest, ScoreIsTheLogLossOfItsLogits) {
  const std::vector<int32_t> ids = random_ids(130, kVocab, 1);
  SessionOptions options;
  options.prefill_chunk = 32;
  const auto session = make_session(options);
  std::vector<float> nll(ids.size());
  std::vector<float> logits(ids.size() * kVocab);
  session->score(ids, nll, logits);
  EXPECT_TRUE(std::isnan(nll[0]));
  for (size_t i = 1; i < ids.size(); ++i) {
    const auto row = std::span(logits).subspan((i - 1) * kVocab, kVocab);
    EXPECT_NEAR(nll[i], log_loss(row, ids[i]), 1e-4) << i;
  }
  // The last row is what decoding would see.
  EXPECT_LT(relative_error(session->logits(), std::span(logits).last(kVocab)), 1e-6);
}

TEST(SessionTest, ScoringInPiecesIsScoringAtOnce) {
  const std::vector<int32_t> ids = random_ids(130, kVocab, 1);
  std::vector<float> once(ids.size());
  make_session()->score(ids, once, {});
  for (const size_t piece : {1, 13, 64}) {
    const auto session = make_session();
    std::vector<float> found(ids.size());
    for (size_t begin = 0; begin < ids.size(); begin += piece) {
      const size_t n = std::min(piece, ids.size() - begin);
      session->score(std::span(ids).subspan(begin, n), std::span(found).subspan(begin, n), {});
    }
    EXPECT_TRUE(std::isnan(found[0]));
    for (size_t i = 1; i < ids.size(); ++i) EXPECT_NEAR(found[i], once[i], 1e-4) << i;
  }
}

// ---- declared length ----------------------------------------------------------------------------

TEST(SessionTest, AutomaticLengthIsPromptAndOutput) {
  SessionOptions options;
  options.rope = small_model()->parse_rope("dynamic_ntk:scale=2");
  const std::vector<int32_t> prompt = random_ids(100, kVocab, 1);
  GenerateOptions generate;
  generate.max_tokens = 20;
  generate.ignore_eos = true;
  const auto automatic = make_session(options);
  Generation found;
  automatic->generate(prompt, generate, &found);
  EXPECT_EQ(automatic->declared_length(), 120);

  options.rope_length = 120;
  const auto declared = make_session(options);
  Generation wanted;
  declared->generate(prompt, generate, &wanted);
  EXPECT_EQ(found.ids, wanted.ids);

  const auto prefilled = make_session({.rope = options.rope});
  prefilled->prefill(prompt);
  EXPECT_EQ(prefilled->declared_length(), 100);
  EXPECT_EQ(prefilled->describe().at("declared_length"), 100);
  prefilled->decode(5);
  EXPECT_EQ(prefilled->declared_length(), 356);  // declared_length.h: at least 256 more
  prefilled->truncate(0);
  prefilled->prefill(std::span(prompt).first(30));
  EXPECT_EQ(prefilled->declared_length(), 30);
}

TEST(SessionTest, ExpectDeclaresWhatWillCome) {
  SessionOptions options;
  options.rope = small_model()->parse_rope("dynamic_ntk:scale=2");
  const auto session = make_session(options);
  session->expect(140);
  session->prefill(random_ids(100, kVocab, 1));
  EXPECT_EQ(session->declared_length(), 140);
  for (int i = 0; i < 40; ++i) session->decode(5);
  EXPECT_EQ(session->declared_length(), 140);
}

TEST(SessionTest, DescribeNamesWhatIsInForce) {
  SessionOptions options;
  options.rope = small_model()->parse_rope("yarn:scale=4");
  options.rope_length = 333;
  options.context_length = 500;
  options.seed = 9;
  const auto session = make_session(options);
  EXPECT_TRUE(session->describe().at("declared_length").is_null());
  session->prefill(random_ids(10, kVocab, 1));
  const Json json = session->describe();
  EXPECT_EQ(json.at("declared_length"), 333);
  EXPECT_EQ(json.at("rope_length"), 333);
  EXPECT_EQ(json.at("context_length"), 500);
  EXPECT_EQ(json.at("n_tokens"), 10);
  EXPECT_EQ(json.at("seed"), 9);
  EXPECT_EQ(json.at("rope").at("spec"), options.rope->canonical());
  EXPECT_EQ(json.at("table_sha256").get<std::string>().size(), 64U);
  EXPECT_EQ(json.at("cache_bytes"), small_model()->kv_layout().page_bytes());
  EXPECT_FALSE(json.at("keys_are_raw").get<bool>());
}

}  // namespace
}  // namespace okapi::test
