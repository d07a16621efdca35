// What plugins may call: log, memory, random numbers, tokenizer, and fitting text to a length.

#include "runtime/plugin_host/host_table.h"

#include <cstring>

#include <gtest/gtest.h>

#include "runtime/base/random.h"
#include "runtime/plugin_host/arena.h"
#include "runtime/plugin_host/conformance_params.h"
#include "runtime/plugin_host/plugin_call.h"
#include "runtime/plugin_host/text_fit.h"
#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

TEST(HostTableTest, LogsUnderThePluginsName) {
  std::vector<LogRecord> records;
  const auto logger = std::make_shared<const Logger>(
      [&](const LogRecord& record) { records.push_back(record); }, LogLevel::debug);
  const HostTable host(logger, "rope.x");
  const okapi_host* table = host.table();
  table->log(table, OKAPI_HOST_LOG_WARN, "careful");
  table->log(table, OKAPI_HOST_LOG_TRACE, "below the threshold");
  const auto* service =
      static_cast<const okapi_log_service_v1*>(table->get_extension(table, OKAPI_LOG_SERVICE));
  service->log(service, OKAPI_HOST_LOG_ERROR, "rope.x.y", "worse");
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].component, "rope.x");
  EXPECT_EQ(records[0].level, LogLevel::warn);
  EXPECT_EQ(records[0].message, "careful");
  EXPECT_EQ(records[1].component, "rope.x.y");
  EXPECT_EQ(records[1].level, LogLevel::error);
}

TEST(HostTableTest, LendsATokenizerOnlyWhereThereIsOne) {
  const HostTable without(nullptr, "x");
  EXPECT_EQ(without.table()->get_extension(without.table(), OKAPI_TOKENIZER_SERVICE), nullptr);
  EXPECT_EQ(without.table()->get_extension(without.table(), "okapi.none/1"), nullptr);
  const HostTable with(nullptr, "x", byte_tokenizer());
  EXPECT_NE(with.table()->get_extension(with.table(), OKAPI_TOKENIZER_SERVICE), nullptr);
}

TEST(HostTableTest, RandomStreamsAreTheEnginesAndResume) {
  const HostTable host(nullptr, "x");
  okapi_random random{};
  host.table()->random(host.table(), 7, 3, &random);
  Random wanted(7, 3);
  EXPECT_EQ(random.next(&random), wanted.next());
  EXPECT_EQ(random.uniform(&random), wanted.uniform());
  okapi_random copy = random;
  const int64_t third = wanted.uniform_int(-3, 12);
  EXPECT_EQ(random.uniform_int(&random, -3, 12), third);
  EXPECT_EQ(copy.uniform_int(&copy, -3, 12), third) << "a copy goes on from where it was made";
}

TEST(HostTableTest, TokenizerAnswersSizesAndRefusesSmallBuffers) {
  const HostTable host(nullptr, "x", byte_tokenizer());
  const auto* tokens = static_cast<const okapi_tokenizer_service_v1*>(
      host.table()->get_extension(host.table(), OKAPI_TOKENIZER_SERVICE));
  int64_t n = 0;
  EXPECT_EQ(tokens->encode(tokens, "abc", 3, 1, nullptr, 0, &n, nullptr), OKAPI_OK);
  EXPECT_EQ(n, 4);
  int32_t ids[4] = {-1, -1, -1, -1};
  EXPECT_EQ(tokens->encode(tokens, "abc", 3, 1, ids, 2, &n, nullptr), OKAPI_OUT_OF_RANGE);
  EXPECT_EQ(n, 4);
  EXPECT_EQ(ids[2], -1);
  EXPECT_EQ(tokens->encode(tokens, "abc", 3, 1, ids, 4, &n, nullptr), OKAPI_OK);
  char text[3];
  EXPECT_EQ(tokens->decode(tokens, ids, 4, text, 3, &n, nullptr), OKAPI_OK);
  EXPECT_EQ(std::string(text, 3), "abc");
  EXPECT_EQ(tokens->count(tokens, "abc", 3, 0, &n, nullptr), OKAPI_OK);
  EXPECT_EQ(n, 3);
  const char* pieces[] = {"ab", "cd", "ef"};
  int64_t n_fitting = 0;
  EXPECT_EQ(tokens->fit(tokens, "<", pieces, 3, ">", 1, 8, &n_fitting, &n, nullptr), OKAPI_OK);
  EXPECT_EQ(n_fitting, 2);
  EXPECT_EQ(n, 7);
  ErrorSink sink;
  EXPECT_EQ(tokens->fit(tokens, "<", pieces, 3, ">", 1, 2, &n_fitting, &n, sink.table()),
            OKAPI_OUT_OF_RANGE);
  EXPECT_NE(sink.error(OKAPI_OUT_OF_RANGE, "x").message().find("has 3 tokens"), std::string::npos);
}

// The oracle: add pieces one by one.
TEST(TextFitTest, EqualsAddingPiecesOneByOne) {
  const auto bytes = byte_tokenizer();
  Random random(5);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> texts;
    const int64_t n = random.uniform_int(0, 40);
    // Alike in some rounds, wildly different in others.
    const int64_t longest = round % 3 == 0 ? 8 : round % 3 == 1 ? 200 : 1;
    for (int64_t i = 0; i < n; ++i) {
      texts.emplace_back(static_cast<size_t>(random.uniform_int(longest == 8 ? 6 : 0, longest)),
                         'x');
    }
    std::vector<const char*> pieces;
    for (const std::string& text : texts) pieces.push_back(text.c_str());
    const int64_t max_tokens = random.uniform_int(4, 1000);
    int64_t wanted = 0;
    int64_t length = 4;
    while (wanted < n &&
           length + static_cast<int64_t>(texts[static_cast<size_t>(wanted)].size()) <= max_tokens) {
      length += static_cast<int64_t>(texts[static_cast<size_t>(wanted)].size());
      ++wanted;
    }
    const TextFit found = fit_pieces(*bytes, "ab", pieces, "c", true, max_tokens);
    EXPECT_EQ(found.n_pieces, wanted);
    EXPECT_EQ(found.n_tokens, length);
  }
}

TEST(TextFitTest, EncodesAHandfulOfTimes) {
  int n_encodings = 0;
  TokenizerFunctions counting = *byte_tokenizer();
  counting.encode = [&](std::string_view text, bool) {
    ++n_encodings;
    return std::vector<int32_t>(text.size());
  };
  const std::vector<const char*> pieces(5000, "line word-word: 12345\n");
  const TextFit found = fit_pieces(counting, "head", pieces, "tail", false, 50000);
  EXPECT_EQ(found.n_pieces, (50000 - 8) / 22);
  EXPECT_LE(n_encodings, 20);
}

TEST(ArenaTest, GivesAlignedZeroedMemoryOfAnySize) {
  const Arena arena;
  for (const size_t n_bytes : {0, 1, 7, 4096, 16384, 1000000}) {
    for (int i = 0; i < 20; ++i) {
      auto* memory = static_cast<char*>(arena.table()->allocate(arena.table(), n_bytes));
      ASSERT_NE(memory, nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % alignof(std::max_align_t), 0U);
      for (size_t k = 0; k < n_bytes; k += 101) ASSERT_EQ(memory[k], 0);
      std::memset(memory, 1, n_bytes);
    }
  }
  EXPECT_EQ(arena.table()->allocate(arena.table(), SIZE_MAX), nullptr);
}

}  // namespace
}  // namespace okapi::test
