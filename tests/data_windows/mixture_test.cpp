#include "runtime/data/mixture.h"

#include <cmath>

#include "runtime/data/windows.h"
#include "tests/data_windows/fixture.h"

namespace okapi::test {
namespace {

/// Windows that say which they are: their only learned id is the number, the first the name.
class Numbered : public WindowSource {
 public:
  Numbered(int32_t name, int64_t count, int64_t length)
      : name_(name), count_(count), length_(length) {}
  int64_t count() const override { return count_; }
  TokenWindow window(int64_t index) const override {
    return {{name_, static_cast<int32_t>(index)}, {0, 1}, std::to_string(name_)};
  }
  int64_t max_tokens() const override { return length_; }
  Json describe() const override { return {{"name", name_}}; }

 private:
  int32_t name_;
  int64_t count_;
  int64_t length_;
};

std::shared_ptr<const MixtureSource> mixture(const std::vector<double>& weights) {
  std::vector<WeightedSource> parts;
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto name = static_cast<int32_t>(i);
    parts.push_back({weights[i], std::make_shared<Numbered>(name, i == 0 ? -1 : 5, 8 + name)});
  }
  return std::make_shared<MixtureSource>(std::move(parts));
}

TEST(MixtureTest, SharesHoldForEveryStretchFromTheBeginning) {
  for (const auto& weights : {std::vector<double>{0.85, 0.15}, {1, 2, 3}, {5, 0.01, 1}}) {
    const auto source = mixture(weights);
    double sum = 0;
    for (const double weight : weights) sum += weight;
    std::vector<int64_t> counts(weights.size());
    for (int64_t i = 0; i < 5000; ++i) {
      const TokenWindow window = source->window(i);
      const auto part = static_cast<size_t>(window.ids[0]);
      EXPECT_EQ(window.ids[1], counts[part]) << "each part's windows come in order, none left out";
      ++counts[part];
      for (size_t k = 0; k < weights.size(); ++k) {
        const double share = weights[k] / sum * static_cast<double>(i + 1);
        ASSERT_LE(std::abs(static_cast<double>(counts[k]) - share), 1.0) << i << " " << k;
      }
    }
  }
}

TEST(MixtureTest, NumbersMayBeAskedForInAnyOrder) {
  const auto forward = mixture({3, 1, 0.5});
  const auto anyhow = mixture({3, 1, 0.5});
  std::vector<TokenWindow> windows;
  for (int64_t i = 0; i < 4000; ++i) windows.push_back(forward->window(i));
  for (int64_t i = 3999; i >= 0; i -= 37) {
    EXPECT_TRUE(same(anyhow->window(i), windows[static_cast<size_t>(i)])) << i;
  }
  EXPECT_EQ(forward->count(), -1);
  EXPECT_EQ(forward->max_tokens(), 10);
  EXPECT_EQ(forward->describe()["parts"].size(), 3U);
  EXPECT_EQ(error_of([&] { forward->window(-1); }).code(), Code::out_of_range);
}

TEST(MixtureTest, AConcatenationHoldsAllWindowsInOrder) {
  const ConcatenatedSource source(
      {std::make_shared<Numbered>(0, 3, 4), std::make_shared<Numbered>(1, 2, 9)});
  ASSERT_EQ(source.count(), 5);
  const std::vector<std::vector<int32_t>> wanted = {{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}};
  for (int64_t i = 0; i < 10; ++i) {
    EXPECT_EQ(source.window(i).ids, wanted[static_cast<size_t>(i % 5)]);
  }
  EXPECT_EQ(source.max_tokens(), 9);
}

}  // namespace
}  // namespace okapi::test
