// One rope serves several threads: schemes that say so at the same time, others one call at a time.

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

TEST(RopeThreadsTest, TablesAreTheSameFromEveryThread) {
  const auto rope = parse_rope("yarn | truncated:length=1024 | xpos");
  const std::string wanted = RopeTable::evaluate(*rope, reference_geometry()).sha256;
  std::atomic<int> n_same = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 50; ++k) {
        if (RopeTable::evaluate(*rope, reference_geometry()).sha256 == wanted) ++n_same;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_same, 200);
}

struct Counter {
  std::atomic<int> inside = 0;
  std::atomic<int> most = 0;
};

TEST(RopeThreadsTest, ASchemeWithoutTheFlagIsNeverEnteredTwice) {
  const auto host = make_plugin_host();
  Counter counter;
  okapi_rope_scheme_v1 scheme{};
  scheme.struct_size = sizeof scheme;
  scheme.table = [](void* state, const okapi_rope_geometry*, okapi_rope_table_v1* table,
                    const okapi_error_sink*) -> int32_t {
    auto* self = static_cast<Counter*>(state);
    const int now = ++self->inside;
    if (now > self->most) self->most = now;
    std::this_thread::yield();
    --self->inside;
    table->n_written = table->n_pairs;
    return OKAPI_OK;
  };
  host->register_rope("counting", "", scheme, &counter, nullptr);
  const auto rope = Rope::parse("counting", *host, reference_geometry());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 50; ++k) RopeTable::evaluate(*rope, reference_geometry());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.most, 1);
}

TEST(RopeThreadsTest, HostsOfTwoRuntimesLoadTheSamePluginsAtOnce) {
  std::vector<std::thread> threads;
  std::vector<std::string> hashes(4);
  for (size_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] { hashes[i] = load_rope("yarn | power").sha256; });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& hash : hashes) EXPECT_EQ(hash, hashes.front());
}

}  // namespace
}  // namespace okapi::test
