#include "runtime/data/windows.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "tests/data_windows/fixture.h"

namespace okapi::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<int64_t> all_documents(const TokenStore& store) {
  std::vector<int64_t> documents(static_cast<size_t>(store.n_documents()));
  std::iota(documents.begin(), documents.end(), int64_t{0});
  return documents;
}

std::shared_ptr<const StoreWindows> windows_of(const std::shared_ptr<const TokenStore>& store,
                                               WindowOptions options, uint64_t seed = 1) {
  return std::make_shared<StoreWindows>(store, all_documents(*store), options, seed);
}

// Giraffe's checks (corpus stage): windows of 8, overlap of 4.
TEST(WindowStartsTest, AreGiraffesForHalfAWindow) {
  EXPECT_THAT(window_starts(8, 8, 4), ElementsAre(0));
  EXPECT_THAT(window_starts(9, 8, 4), ElementsAre(0, 4));
  EXPECT_THAT(window_starts(12, 8, 4), ElementsAre(0, 4));
  EXPECT_THAT(window_starts(13, 8, 4), ElementsAre(0, 4, 8));
  EXPECT_THAT(window_starts(3, 8, 4), ElementsAre(0));
  EXPECT_THAT(window_starts(16, 8, 4), ElementsAre(0, 4, 8));
  EXPECT_THAT(window_starts(0, 8, 4), IsEmpty());
}

TEST(WindowStartsTest, CoverEveryTokenAndPredictSomething) {
  for (int64_t length = 2; length < 9; ++length) {
    for (int64_t overlap = 0; overlap < length; ++overlap) {
      for (int64_t n = 2; n < 40; ++n) {
        const auto starts = window_starts(n, length, overlap);
        int64_t covered = 0;
        for (const int64_t start : starts) {
          ASSERT_LE(start, covered) << length << " " << overlap << " " << n;
          ASSERT_GE(n - start, 2);
          covered = std::min(n, start + length);
        }
        // Without an overlap a last single token has nothing to be predicted from in its window.
        ASSERT_GE(covered, overlap == 0 ? n - 1 : n) << length << " " << overlap;
      }
    }
  }
}

TEST(StoreWindowsTest, AreSlicesOfOneDocumentEach) {
  const auto store = store_of({3, 13, 8});
  const auto source = windows_of(store, {.length = 8, .overlap = 4, .shuffle = false});
  ASSERT_EQ(source->count(), 1 + 3 + 1);
  const std::vector<std::vector<int32_t>> wanted = {{10, 11, 12},
                                                    {13, 14, 15, 16, 17, 18, 19, 20},
                                                    {17, 18, 19, 20, 21, 22, 23, 24},
                                                    {21, 22, 23, 24, 25},
                                                    {26, 27, 28, 29, 30, 31, 32, 33}};
  for (int64_t i = 0; i < source->count(); ++i) {
    const TokenWindow window = source->window(i);
    EXPECT_EQ(window.ids, wanted[static_cast<size_t>(i)]);
    std::vector<uint8_t> learned(window.ids.size(), 1);
    learned[0] = 0;
    EXPECT_EQ(window.learned, learned);
  }
  EXPECT_EQ(source->window(2).identity, "test: record 1, tokens 4 to 12");
}

TEST(StoreWindowsTest, WindowsThatBeginWithBosHoldOneTokenLess) {
  const auto store = store_of({5});
  const auto source = windows_of(store, {.length = 4, .overlap = 1, .bos_id = 1, .shuffle = false});
  ASSERT_EQ(source->count(), 2);
  EXPECT_THAT(source->window(0).ids, ElementsAre(1, 10, 11, 12));
  EXPECT_THAT(source->window(0).learned, ElementsAre(0, 0, 1, 1));  // the document's first: never
  EXPECT_THAT(source->window(1).ids, ElementsAre(1, 12, 13, 14));
  EXPECT_THAT(source->window(1).learned, ElementsAre(0, 1, 1, 1));
}

TEST(StoreWindowsTest, PackedWindowsAreOneLongText) {
  const auto store = store_of({3, 5, 2, 7});
  const auto source = windows_of(store, {.length = 6, .pack = true, .shuffle = false});
  std::vector<int32_t> all;
  for (int64_t i = 0; i < source->count(); ++i) {
    const auto ids = source->window(i).ids;
    all.insert(all.end(), ids.begin(), ids.end());
  }
  std::vector<int32_t> wanted(17);
  std::iota(wanted.begin(), wanted.end(), 10);
  EXPECT_EQ(all, wanted);
  // The first token of a document has no prediction, also where another one comes before it.
  EXPECT_THAT(source->window(0).learned, ElementsAre(0, 1, 1, 0, 1, 1));
}

TEST(StoreWindowsTest, EveryPackedEpochHoldsEveryTokenOnce) {
  const auto store = store_of({3, 5, 2, 7, 11, 4, 4});
  const auto source = windows_of(store, {.length = 6, .pack = true}, 3);
  std::vector<int32_t> wanted(36);
  std::iota(wanted.begin(), wanted.end(), 10);
  std::set<std::vector<int32_t>> orders;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    std::vector<int32_t> all;
    for (int64_t i = 0; i < source->count(); ++i) {
      const auto ids = source->window(epoch * source->count() + i).ids;
      all.insert(all.end(), ids.begin(), ids.end());
    }
    orders.insert(all);
    std::sort(all.begin(), all.end());
    EXPECT_EQ(all, wanted) << epoch;
  }
  EXPECT_EQ(orders.size(), 4U);
}

TEST(StoreWindowsTest, EveryEpochIsAnotherOrderOfTheSameWindows) {
  const auto store = store_of({30, 41, 8, 25, 60});
  const auto source = windows_of(store, {.length = 8, .overlap = 4}, 7);
  std::set<std::vector<std::string>> orders;
  std::vector<std::string> first;
  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    std::vector<std::string> names;
    for (int64_t i = 0; i < source->count(); ++i) {
      names.push_back(source->window(epoch * source->count() + i).identity);
    }
    EXPECT_TRUE(orders.insert(names).second);
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
    if (epoch == 0) first = names;
    EXPECT_EQ(names, first);
  }
}

TEST(StoreWindowsTest, DependOnSeedAndNumberAlone) {
  const auto store = store_of({30, 41, 8, 25, 60});
  for (const bool pack : {false, true}) {
    const WindowOptions options{.length = 8, .overlap = 2, .pack = pack};
    const auto one = windows_of(store, options, 7);
    const auto again = windows_of(store, options, 7);
    const auto other = windows_of(store, options, 8);
    int64_t n_equal = 0;
    std::vector<TokenWindow> backwards;
    const int64_t n = 3 * one->count();
    for (int64_t i = n - 1; i >= 0; --i) {
      backwards.push_back(one->window(i));
      n_equal += same(backwards.back(), other->window(i)) ? 1 : 0;
    }
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_TRUE(same(again->window(i), backwards[static_cast<size_t>(n - 1 - i)]));
    }
    EXPECT_LT(n_equal, n / 2);
  }
}

TEST(StoreWindowsTest, WindowsWithoutLossAreLeftOut) {
  MemoryTokens tokens(100, 1 << 20);
  TokenDocument document;
  for (int32_t i = 0; i < 20; ++i) document.append_one(10 + i, i == 9 || i == 16);
  tokens.add(document, 0);
  const auto source =
      windows_of(tokens.finish("test", {}), {.length = 4, .overlap = 0, .shuffle = false});
  // 16 is the first token of its window, with nothing to predict it from.
  ASSERT_EQ(source->count(), 1);
  EXPECT_THAT(source->window(0).ids, ElementsAre(18, 19, 20, 21));
  EXPECT_THAT(source->window(0).learned, ElementsAre(0, 1, 0, 0));
}

TEST(StoreWindowsTest, NothingToLearnIsAnError) {
  const auto store = store_of({1, 1});
  EXPECT_EQ(error_of([&] { windows_of(store, {.length = 8}); }).code(), Code::invalid_argument);
}

TEST(PermutationTest, IsOneToOneAndDependsOnSeedAndStream) {
  for (const int64_t n : {1, 2, 3, 4, 5, 15, 16, 17, 255, 256, 257, 1000}) {
    std::set<std::vector<int64_t>> orders;
    for (uint64_t seed = 0; seed < 3; ++seed) {
      for (uint64_t stream = 0; stream < 2; ++stream) {
        const Permutation permutation(n, seed, stream);
        std::vector<int64_t> order;
        for (int64_t i = 0; i < n; ++i) order.push_back(permutation(i));
        orders.insert(order);
        std::sort(order.begin(), order.end());
        for (int64_t i = 0; i < n; ++i) ASSERT_EQ(order[static_cast<size_t>(i)], i) << n;
      }
    }
    if (n >= 15) {
      EXPECT_EQ(orders.size(), 6U) << n;
    }
  }
}

// Of 400 shuffles of 8, each place holds each number 50 times, to five standard deviations.
TEST(PermutationTest, FavoursNoPlace) {
  std::vector<std::vector<int>> counts(8, std::vector<int>(8));
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const Permutation permutation(8, seed, 0);
    for (int64_t i = 0; i < 8; ++i) {
      ++counts[static_cast<size_t>(i)][static_cast<size_t>(permutation(i))];
    }
  }
  for (const auto& row : counts) {
    for (const int count : row) EXPECT_NEAR(count, 50, 34);
  }
}

}  // namespace
}  // namespace okapi::test
