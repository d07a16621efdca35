#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/tokenizer/tokenizer_support.h"

namespace okapi::test {
namespace {

TEST(TokenizerThreadsTest, ServesSeveralThreadsAtOnce) {
  const auto tokenizer = open_tokenizer(tokenizer_data("savanna.model"));
  const std::string text = "line torpid-kid: REGISTER_CONTENT is <24169>";
  const std::vector<int32_t> ids = tokenizer->encode(text, true);

  std::atomic<int> n_wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 200; ++k) {
        if (tokenizer->encode(text, true) != ids || tokenizer->decode(ids) != text) ++n_wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_wrong, 0);
}

TEST(TokenizerThreadsTest, OpensInSeveralThreadsAtOnce) {
  std::atomic<int> n_right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      if (open_tokenizer(tokenizer_data("savanna.model"))->vocab_size() == 1024) ++n_right;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_right, 4);
}

}  // namespace
}  // namespace okapi::test
