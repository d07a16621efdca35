#include "runtime/data/prefetch.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/data_windows/fixture.h"

namespace okapi::test {
namespace {

using namespace std::chrono_literals;

/// Windows that hold their own number; counts what it makes, may be slow or fail.
class Counted : public WindowSource {
 public:
  int64_t count() const override { return -1; }
  TokenWindow window(int64_t index) const override {
    const int64_t now = ++n_at_once;
    int64_t most = most_at_once;
    while (now > most && !most_at_once.compare_exchange_weak(most, now)) {
    }
    if (pause.count() > 0) std::this_thread::sleep_for(pause);
    ++n_made;
    --n_at_once;
    if (index == failing) throw Error(Code::data_loss, "window " + std::to_string(index));
    return {{1, static_cast<int32_t>(index)}, {0, 1}, std::to_string(index)};
  }
  int64_t max_tokens() const override { return 2; }
  Json describe() const override { return "counted"; }

  std::chrono::microseconds pause{0};
  int64_t failing = -1;
  mutable std::atomic<int64_t> n_made{0};
  mutable std::atomic<int64_t> n_at_once{0};
  mutable std::atomic<int64_t> most_at_once{0};
};

TEST(PrefetchTest, GivesTheWindowsAskedForInAnyOrder) {
  const auto source = std::make_shared<Counted>();
  const PrefetchingSource ahead(source, {.n_ahead = 8, .n_threads = 2});
  for (const int64_t index :
       {0, 1, 2, 3, 50, 51, 52, 49, 48, 53, 3, 4, 2, 100, 103, 101, 102, 104}) {
    EXPECT_EQ(ahead.window(index).identity, std::to_string(index));
  }
  EXPECT_EQ(ahead.max_tokens(), 2);
  EXPECT_EQ(ahead.describe(), "counted");
}

TEST(PrefetchTest, MakesNoMoreAheadThanItMay) {
  const auto source = std::make_shared<Counted>();
  const PrefetchingSource ahead(source, {.n_ahead = 5, .n_threads = 3});
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(source->n_made, 0) << "nothing before the first is asked for";
  ahead.window(0);
  for (int i = 0; i < 200 && source->n_made < 6; ++i) std::this_thread::sleep_for(5ms);
  std::this_thread::sleep_for(30ms);
  EXPECT_EQ(source->n_made, 6);  // the one read, and five ahead of it
}

TEST(PrefetchTest, AReaderWhoIsSlowerNeverWaitsAgain) {
  const auto source = std::make_shared<Counted>();
  const PrefetchingSource ahead(source, {.n_ahead = 8});
  ahead.window(0);
  for (int64_t i = 1; i < 20; ++i) {
    // The one thread hands a window over before it makes the next.
    while (source->n_made < i + 2) std::this_thread::sleep_for(1ms);
    ahead.window(i);
  }
  EXPECT_EQ(ahead.n_waits(), 1);  // for the first
}

TEST(PrefetchTest, AFailureIsThrownWhereItsWindowIsRead) {
  const auto source = std::make_shared<Counted>();
  source->failing = 4;
  const PrefetchingSource ahead(source, {.n_ahead = 8});
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(ahead.window(i).ids[1], i);
  const Error error = error_of([&] { ahead.window(4); });
  EXPECT_EQ(error.code(), Code::data_loss);
  EXPECT_EQ(error.message(), "window 4");
  EXPECT_EQ(ahead.window(5).ids[1], 5);
}

TEST(PrefetchTest, StopsWhileWindowsAreBeingMade) {
  const auto source = std::make_shared<Counted>();
  source->pause = 2ms;
  for (int i = 0; i < 10; ++i) {
    const PrefetchingSource ahead(source, {.n_ahead = 16, .n_threads = 3});
    if (i % 3 > 0) ahead.window(i);
  }
  EXPECT_EQ(source->n_at_once, 0);
}

TEST(PrefetchTest, SeveralReadersEachGetTheirWindow) {
  const auto source = std::make_shared<Counted>();
  source->pause = 50us;
  const PrefetchingSource ahead(source, {.n_ahead = 6, .n_threads = 2});
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> n_wrong{0};
  {
    std::vector<std::jthread> readers;
    for (int reader = 0; reader < 4; ++reader) {
      readers.emplace_back([&] {
        for (int64_t i = next++; i < 400; i = next++) {
          // Now and then somewhere else, as an evaluation would.
          const int64_t index = i % 50 == 49 ? i + 1000 : i;
          if (ahead.window(index).ids[1] != index) ++n_wrong;
        }
      });
    }
  }
  EXPECT_EQ(n_wrong, 0);
}

// The whole path under threads: lines documents, made by a plugin, encoded by sentencepiece.
TEST(PrefetchTest, EqualsTheSourceItReads) {
  const auto source = open({{"dataset", "lines"},
                            {"params", {{"training", true}, {"style", "compact"}, {"length", 128}}},
                            {"length", 128}})
                          .training;
  const PrefetchingSource ahead(source, {.n_ahead = 12, .n_threads = 2});
  for (int64_t i = 0; i < 30; ++i) EXPECT_TRUE(same(ahead.window(i), source->window(i))) << i;
}

}  // namespace
}  // namespace okapi::test
