// Outputs: stop rules, what is heard of them, and what the session holds afterwards. The trained
// model of the project answers, so that texts are real.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/generation/completion.h"
#include "runtime/generation/text_stream.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/support/engine.h"

namespace okapi::test {
namespace {

std::shared_ptr<const Model> savanna() {
  static const std::shared_ptr<const Model> kModel =
      Model::load(engine(), OKAPI_SOURCE_DIR "/models/savanna-5m", computed_in_f32());
  return kModel;
}

/// Three lines and a question; the model, trained on these, answers "24169>\n".
std::vector<int32_t> prompt() {
  return savanna()->tokenizer()->encode(
      "line torpid-kid: REGISTER_CONTENT is <24169>\n"
      "line sad-hat: REGISTER_CONTENT is <1234>\n"
      "line calm-dog: REGISTER_CONTENT is <777>\n"
      "What is the REGISTER_CONTENT in line torpid-kid? <",
      /*add_bos=*/true);
}

Generation generate(const GenerateOptions& options) {
  Generation generation;
  Session::create(savanna(), {})->generate(prompt(), options, &generation);
  return generation;
}

std::string text_of(const Generation& generation) {
  return savanna()->tokenizer()->decode(generation.ids);
}

TEST(GenerateTest, AnswersTheQuestionUpToMaxTokens) {
  GenerateOptions options;
  options.max_tokens = 12;
  const Generation generation = generate(options);
  EXPECT_THAT(text_of(generation), testing::StartsWith("24169>\n"));
  EXPECT_EQ(generation.ids.size(), 12U);
  EXPECT_EQ(generation.stop_reason, StopReason::length);
}

TEST(GenerateTest, StopTextEndsTheOutputWithTheTokenThatCompletesIt) {
  GenerateOptions options;
  options.stop_texts = {"never", ">\n"};
  const Generation generation = generate(options);
  EXPECT_EQ(text_of(generation), "24169>\n");
  EXPECT_EQ(generation.stop_reason, StopReason::text);
}

TEST(GenerateTest, StopIdIsPartOfTheOutput) {
  GenerateOptions options;
  options.max_tokens = 12;
  const std::vector<int32_t> all = generate(options).ids;
  // The first token that was not there before, so that the stop is where it should be.
  options.stop_ids = {all[5]};
  const auto first = std::find(all.begin(), all.end(), all[5]) - all.begin();
  const Generation generation = generate(options);
  EXPECT_EQ(generation.ids, std::vector<int32_t>(all.begin(), all.begin() + first + 1));
  EXPECT_EQ(generation.stop_reason, StopReason::id);
}

TEST(GenerateTest, MinTokensHoldsStopRulesOff) {
  GenerateOptions options;
  options.max_tokens = 40;
  options.min_tokens = 10;
  options.stop_texts = {">\n"};
  const Generation generation = generate(options);
  EXPECT_GE(generation.ids.size(), 10U);
}

TEST(GenerateTest, EndOfTextEndsTheOutputUnlessIgnored) {
  // Logits in which the end of text is the most likely: choosing needs no model run.
  std::vector<float> logits(static_cast<size_t>(savanna()->config().vocab_size), 0.0F);
  const int32_t eos = savanna()->config().eos_id;
  logits[static_cast<size_t>(eos)] = 2;
  logits[40] = 1;

  Completion ends(*savanna(), {});
  EXPECT_FALSE(ends.choose(logits));
  EXPECT_EQ(ends.ids(), std::vector<int32_t>{eos});
  EXPECT_EQ(ends.stop_reason(), StopReason::eos);
  EXPECT_FALSE(ends.choose(logits));  // and stays ended
  EXPECT_EQ(ends.ids().size(), 1U);

  GenerateOptions options;
  options.ignore_eos = true;
  options.max_tokens = 2;
  Completion goes_on(*savanna(), options);
  EXPECT_TRUE(goes_on.choose(logits));
  EXPECT_FALSE(goes_on.choose(logits));
  EXPECT_EQ(goes_on.ids(), (std::vector<int32_t>{eos, eos}));
  EXPECT_EQ(goes_on.stop_reason(), StopReason::length);

  options = {};
  options.min_tokens = 2;
  Completion waits(*savanna(), options);
  EXPECT_TRUE(waits.choose(logits));
  EXPECT_TRUE(waits.choose(logits));
  EXPECT_FALSE(waits.choose(logits));
  EXPECT_EQ(waits.ids(), (std::vector<int32_t>{40, 40, eos}));
}

TEST(GenerateTest, CallbackHearsEveryTokenAndMayStop) {
  std::vector<int32_t> heard;
  std::string text;
  GenerateOptions options;
  options.on_token = [&](int32_t id, std::string_view added) {
    heard.push_back(id);
    text += added;
    return heard.size() < 4;
  };
  const Generation generation = generate(options);
  EXPECT_EQ(generation.ids.size(), 4U);
  EXPECT_EQ(heard, generation.ids);
  EXPECT_EQ(text, text_of(generation));
  EXPECT_EQ(generation.stop_reason, StopReason::callback);
}

// The tokenizer spells what it does not know in bytes: a character comes with the last of its own.
TEST(TextStreamTest, GivesWholeCharactersOnly) {
  const std::string text = "caf\u00e9 \U0001F992 \u4e2d.";
  TextStream stream(savanna()->tokenizer());
  std::string all;
  for (const int32_t id : savanna()->tokenizer()->encode(text, false)) {
    const std::string added = stream.add(id);
    EXPECT_NO_THROW(static_cast<void>(Json(added).dump()));  // dump() refuses broken UTF-8
    all += added;
  }
  EXPECT_EQ(all, text);
}

TEST(TextStreamTest, BytesThatNeverMakeACharacterDoNotHoldTheRestBack) {
  const auto& tokenizer = *savanna()->tokenizer();
  int32_t lone = -1;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.piece(id) == "<0xFF>") lone = id;
  }
  ASSERT_GE(lone, 0);
  TextStream stream(savanna()->tokenizer());
  for (int i = 0; i < 3; ++i) stream.add(lone);
  std::string rest;
  for (const int32_t id : tokenizer.encode("giraffe", false)) rest += stream.add(id);
  EXPECT_THAT(rest, testing::EndsWith("giraffe"));
}

TEST(GenerateTest, OutputCountsAsFedAndGenerationGoesOn) {
  GenerateOptions options;
  options.max_tokens = 9;
  options.ignore_eos = true;
  const Generation once = generate(options);

  const auto session = Session::create(savanna(), {});
  Generation first;
  Generation second;
  options.max_tokens = 4;
  session->generate(prompt(), options, &first);
  EXPECT_EQ(session->n_tokens(), static_cast<int64_t>(prompt().size()) + 4);
  EXPECT_EQ(session->tokens().back(), first.ids.back());
  options.max_tokens = 5;
  session->generate({}, options, &second);
  first.ids.insert(first.ids.end(), second.ids.begin(), second.ids.end());
  EXPECT_EQ(first.ids, once.ids);

  // Decoding on by hand sees the same tokens as a session that was fed them all.
  session->decode(50);
  const auto fresh = Session::create(savanna(), {});
  std::vector<int32_t> all = prompt();
  all.insert(all.end(), once.ids.begin(), once.ids.end());
  all.push_back(50);
  EXPECT_EQ(std::vector<int32_t>(session->tokens().begin(), session->tokens().end()), all);
  fresh->prefill(all);
  EXPECT_LT(relative_error(session->logits(), fresh->logits()), 2e-5);
}

TEST(GenerateTest, EmptyPromptContinuesWhatIsHeld) {
  GenerateOptions options;
  options.max_tokens = 6;
  const auto session = Session::create(savanna(), {});
  session->prefill(prompt(), /*want_logits=*/false);
  Generation generation;
  session->generate({}, options, &generation);
  EXPECT_EQ(generation.ids, generate(options).ids);

  Generation none;
  EXPECT_THROW(Session::create(savanna(), {})->generate({}, options, &none), Error);
}

TEST(GenerateTest, CancelledOutputIsHandedOverAndTheSessionIsAsBefore) {
  for (const char* spec : {"plain", "dynamic_ntk:scale=2"}) {
    SessionOptions session_options;
    session_options.rope = savanna()->parse_rope(spec);
    const auto session = Session::create(savanna(), session_options);
    const std::vector<int32_t> fed = prompt();
    session->prefill(std::span(fed).first(20));
    const int64_t declared = session->declared_length();

    CancelToken cancel;
    GenerateOptions options;
    options.cancel = &cancel;
    options.on_token = [&, n = 0](int32_t, std::string_view) mutable {
      if (++n == 3) cancel.request();
      return true;
    };
    Generation generation;
    try {
      session->generate(std::span(fed).subspan(20), options, &generation);
      FAIL() << "was not cancelled";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::cancelled);
    }
    EXPECT_EQ(generation.ids.size(), 3U);
    EXPECT_EQ(session->n_tokens(), 20);
    EXPECT_EQ(session->declared_length(), declared);

    options = {};
    options.max_tokens = 5;
    session->generate(std::span(fed).subspan(20), options, &generation);
    EXPECT_EQ(text_of(generation), "24169");
  }
}

TEST(GenerateTest, SamplingIsReproducible) {
  GenerateOptions options;
  options.temperature = 1.5F;
  options.max_tokens = 20;
  options.ignore_eos = true;
  options.seed = 3;
  const std::vector<int32_t> ids = generate(options).ids;
  EXPECT_EQ(generate(options).ids, ids);
  options.seed = 4;
  EXPECT_NE(generate(options).ids, ids);
}

TEST(GenerateTest, WrongOptionsAreNamed) {
  const auto field_of = [](const GenerateOptions& options) -> std::string {
    try {
      generate(options);
    } catch (const Error& error) {
      return error.field_name();
    }
    return "";
  };
  GenerateOptions options;
  options.max_tokens = 0;
  EXPECT_EQ(field_of(options), "max_tokens");
  options = {};
  options.min_tokens = 300;
  EXPECT_EQ(field_of(options), "min_tokens");
  options = {};
  options.stop_ids = {1024};
  EXPECT_EQ(field_of(options), "stop_ids");
  options = {};
  options.stop_texts = {""};
  EXPECT_EQ(field_of(options), "stop_texts");

  const auto without = Model::random(engine(), small_config(), 1);
  options.stop_texts = {"x"};
  try {
    const Completion completion(*without, options);
    FAIL() << "a model without a tokenizer took stop texts";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::failed_precondition);
  }

  SessionOptions short_session;
  short_session.context_length = static_cast<int64_t>(prompt().size()) + 5;
  options = {};
  options.max_tokens = 6;
  Generation generation;
  try {
    Session::create(savanna(), short_session)->generate(prompt(), options, &generation);
    FAIL() << "the output does not fit";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::out_of_range);
  }
}

}  // namespace
}  // namespace okapi::test
