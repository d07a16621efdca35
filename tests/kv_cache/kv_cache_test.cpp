#include "runtime/kv_cache/kv_cache.h"

#include <gtest/gtest.h>

#include "tests/kv_cache/fake_backend.h"

namespace okapi::test {
namespace {

constexpr KvLayout kLayout{
    .n_layers = 2, .n_kv_heads = 1, .head_dim = 2, .page_tokens = 4, .dtype = DType::f32};

class KvCacheTest : public testing::Test {
 protected:
  KvCache make() { return KvCache(pool_); }

  /// Appends tokens, marking every page they lie in.
  void append(KvCache& cache, int64_t n, int mark) {
    cache.reserve(n, stream_);
    for (int64_t i = cache.n_tokens(); i < cache.n_tokens() + n; ++i) {
      slot(cache, i) = static_cast<float>(mark);
    }
    cache.advance(n);
  }
  float& slot(const KvCache& cache, int64_t token) {
    auto* page = static_cast<float*>(cache.pages()[static_cast<size_t>(token / 4)]);
    return page[token % 4];
  }

  std::shared_ptr<CountingBackend> backend_ = std::make_shared<CountingBackend>();
  std::shared_ptr<PagePool> pool_ = std::make_shared<PagePool>(backend_, kLayout);
  CopyingStream stream_;
};

TEST_F(KvCacheTest, MemoryGrowsByPages) {
  KvCache cache = make();
  EXPECT_EQ(cache.bytes(), 0U);
  for (int64_t n = 1; n <= 40; ++n) {
    append(cache, 1, 1);
    EXPECT_EQ(cache.n_tokens(), n);
    // Two layers of keys and values, one head of two floats, four tokens.
    EXPECT_EQ(cache.bytes(), static_cast<size_t>((n + 3) / 4) * 2 * 2 * 2 * 4 * sizeof(float));
  }
}

TEST_F(KvCacheTest, CopiesShareWholePagesAndCopyTheOneTheyWriteIn) {
  KvCache first = make();
  append(first, 6, 1);
  KvCache second = first;
  EXPECT_EQ(pool_->n_pages_in_use(), 2);
  EXPECT_EQ(second.pages()[1], first.pages()[1]);

  append(second, 1, 2);
  EXPECT_EQ(pool_->n_pages_in_use(), 3);
  EXPECT_EQ(second.pages()[0], first.pages()[0]);
  EXPECT_NE(second.pages()[1], first.pages()[1]);
  EXPECT_EQ(slot(second, 5), 1.0F);  // copied along
  EXPECT_EQ(slot(second, 6), 2.0F);

  append(first, 1, 3);
  EXPECT_EQ(pool_->n_pages_in_use(), 3);  // nobody else reads that page any more
  EXPECT_EQ(slot(first, 6), 3.0F);
  EXPECT_EQ(slot(second, 6), 2.0F);
}

TEST_F(KvCacheTest, FullSharedPagesAreNeverCopied) {
  KvCache first = make();
  append(first, 8, 1);
  KvCache second = first;
  append(second, 1, 2);
  EXPECT_EQ(pool_->n_pages_in_use(), 3);
}

TEST_F(KvCacheTest, TruncationIntoASharedPageThenWritingKeepsTheOther) {
  KvCache first = make();
  append(first, 8, 1);
  KvCache second = first;
  second.truncate(6);
  append(second, 2, 2);
  EXPECT_EQ(slot(first, 6), 1.0F);
  EXPECT_EQ(slot(second, 6), 2.0F);
  EXPECT_EQ(slot(second, 5), 1.0F);
}

TEST_F(KvCacheTest, TruncationGivesPagesBack) {
  KvCache cache = make();
  append(cache, 17, 1);
  EXPECT_EQ(pool_->n_pages_in_use(), 5);
  cache.truncate(8);
  EXPECT_EQ(pool_->n_pages_in_use(), 2);
  cache.reserve(30, stream_);
  cache.truncate(8);  // what was reserved and not used
  EXPECT_EQ(pool_->n_pages_in_use(), 2);
  EXPECT_EQ(cache.n_tokens(), 8);
}

TEST_F(KvCacheTest, RunningOutOfMemoryLeavesWhatIsHeld) {
  KvCache cache = make();
  append(cache, 6, 1);
  KvCache fork = cache;
  backend_->n_until_empty = 1;
  EXPECT_THROW(fork.reserve(10, stream_), std::bad_alloc);
  fork.truncate(6);
  EXPECT_EQ(fork.n_tokens(), 6);
  EXPECT_EQ(slot(fork, 5), 1.0F);
  backend_->n_until_empty = -1;
  append(fork, 10, 2);
  EXPECT_EQ(slot(fork, 5), 1.0F);
  EXPECT_EQ(slot(fork, 15), 2.0F);
  EXPECT_EQ(slot(cache, 5), 1.0F);
}

TEST_F(KvCacheTest, FreedPagesServeAgainAndAllMemoryComesBack) {
  {
    KvCache cache = make();
    append(cache, 16, 1);
  }
  const int64_t n = backend_->n_allocations;
  {
    KvCache cache = make();
    append(cache, 16, 1);
  }
  EXPECT_EQ(backend_->n_allocations, n);
  EXPECT_EQ(pool_->n_pages_in_use(), 0);
  pool_ = nullptr;
  EXPECT_EQ(backend_->n_alive, 0);
}

}  // namespace
}  // namespace okapi::test
