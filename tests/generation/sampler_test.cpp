#include "runtime/generation/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "runtime/base/error.h"

namespace okapi {
namespace {

constexpr int kDraws = 40000;

std::map<int32_t, int> counts_of(Sampler& sampler, const std::vector<float>& logits,
                                 std::span<const int32_t> forbidden = {}) {
  std::map<int32_t, int> counts;
  for (int i = 0; i < kDraws; ++i) ++counts[sampler.choose(logits, forbidden)];
  return counts;
}

/// Pearson's statistic against the given probabilities; its 99.99 % quantile at 4 degrees of
/// freedom is 23.5 (tables of chi squared), at 2 degrees 18.4.
double chi_squared(const std::map<int32_t, int>& counts,
                   const std::map<int32_t, double>& expected) {
  double statistic = 0;
  for (const auto& [id, probability] : expected) {
    const double wanted = probability * kDraws;
    const auto found = counts.find(id);
    const double count = found == counts.end() ? 0 : found->second;
    statistic += (count - wanted) * (count - wanted) / wanted;
  }
  for (const auto& [id, count] : counts) {
    if (!expected.contains(id)) return INFINITY;  // a token that must not come
  }
  return statistic;
}

// Probabilities of these logits at temperature 1: .1 .2 .3 .15 .25.
const std::vector<float> kLogits = {std::log(0.1F), std::log(0.2F), std::log(0.3F), std::log(0.15F),
                                    std::log(0.25F)};

TEST(SamplerTest, GreedyTakesTheLargestAndTheLowestIdOnATie) {
  Sampler sampler({});
  EXPECT_EQ(sampler.choose(kLogits), 2);
  EXPECT_EQ(sampler.choose(std::vector<float>{1, 5, 5, 2}), 1);
  EXPECT_EQ(sampler.choose(std::vector<float>{NAN, 1, -INFINITY}), 1);
  const std::vector<int32_t> forbidden = {2, 4};
  EXPECT_EQ(sampler.choose(kLogits, forbidden), 1);
}

TEST(SamplerTest, TemperatureOneDrawsFromTheSoftmax) {
  Sampler sampler({.temperature = 1, .seed = 1});
  EXPECT_LT(
      chi_squared(counts_of(sampler, kLogits), {{0, .1}, {1, .2}, {2, .3}, {3, .15}, {4, .25}}),
      23.5);
}

// At temperature t probabilities are p^(1/t), normalised: here p squared over .225.
TEST(SamplerTest, TemperatureSharpens) {
  Sampler sampler({.temperature = 0.5, .seed = 2});
  EXPECT_LT(chi_squared(counts_of(sampler, kLogits), {{0, .01 / .225},
                                                      {1, .04 / .225},
                                                      {2, .09 / .225},
                                                      {3, .0225 / .225},
                                                      {4, .0625 / .225}}),
            23.5);
}

TEST(SamplerTest, TopKKeepsTheLikeliest) {
  Sampler sampler({.temperature = 1, .top_k = 3, .seed = 3});
  EXPECT_LT(
      chi_squared(counts_of(sampler, kLogits), {{1, .2 / .75}, {2, .3 / .75}, {4, .25 / .75}}),
      18.4);
}

// .3 + .25 reach .5; .3 alone does not.
TEST(SamplerTest, TopPKeepsTheSmallestSetThatReachesIt) {
  Sampler sampler({.temperature = 1, .top_p = 0.5, .seed = 4});
  EXPECT_LT(chi_squared(counts_of(sampler, kLogits), {{2, .3 / .55}, {4, .25 / .55}}), 18.4);
  Sampler narrow({.temperature = 1, .top_p = 0.01F, .seed = 4});
  EXPECT_EQ(counts_of(narrow, kLogits), (std::map<int32_t, int>{{2, kDraws}}));
}

// Among the four of top_k probabilities are .2 .3 .15 .25 over .9; .3 + .25 are .61 of it, + .2
// .83.
TEST(SamplerTest, TopPAppliesToWhatTopKLeaves) {
  Sampler sampler({.temperature = 1, .top_k = 4, .top_p = 0.7F, .seed = 5});
  EXPECT_LT(
      chi_squared(counts_of(sampler, kLogits), {{1, .2 / .75}, {2, .3 / .75}, {4, .25 / .75}}),
      18.4);
}

TEST(SamplerTest, ForbiddenTokensLeaveTheirShareToTheOthers) {
  Sampler sampler({.temperature = 1, .seed = 6});
  const std::vector<int32_t> forbidden = {0, 2};
  EXPECT_LT(chi_squared(counts_of(sampler, kLogits, forbidden),
                        {{1, .2 / .6}, {3, .15 / .6}, {4, .25 / .6}}),
            18.4);
}

TEST(SamplerTest, SeedDecides) {
  const auto draws = [](uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<int32_t> ids;
    for (int i = 0; i < 50; ++i) ids.push_back(sampler.choose(kLogits));
    return ids;
  };
  EXPECT_EQ(draws(1), draws(1));
  EXPECT_NE(draws(1), draws(2));
}

TEST(SamplerTest, HugeLogitsDoNotOverflow) {
  Sampler sampler({.temperature = 0.001F, .seed = 1});
  EXPECT_EQ(sampler.choose(std::vector<float>{3e38F, 2e38F, -3e38F}), 0);
}

TEST(SamplerTest, WrongOptionsAreNamed) {
  const auto field_of = [](const SamplerOptions& options) -> std::string {
    try {
      const Sampler sampler(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::invalid_argument);
      return error.field_name();
    }
    return "";
  };
  EXPECT_EQ(field_of({.temperature = -1}), "temperature");
  EXPECT_EQ(field_of({.temperature = NAN}), "temperature");
  EXPECT_EQ(field_of({.temperature = 1, .top_k = -1}), "top_k");
  EXPECT_EQ(field_of({.temperature = 1, .top_p = 0}), "top_p");
  EXPECT_EQ(field_of({.temperature = 1, .top_p = 1.5F}), "top_p");
  Sampler sampler({});
  EXPECT_THROW(sampler.choose(std::vector<float>{NAN, NAN}), Error);
}

}  // namespace
}  // namespace okapi
