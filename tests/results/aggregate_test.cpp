#include "runtime/results/aggregate.h"

#include <vector>

#include <gtest/gtest.h>

#include "tests/results/sample_runs.h"

namespace okapi {
namespace {

TEST(AggregateTest, RateHasWilsonsInterval) {
  const std::vector<Sample> samples = {make_sample(0, true), make_sample(1, true),
                                       make_sample(2, true), make_sample(3, false)};
  std::vector<const Sample*> all;
  for (const Sample& sample : samples) all.push_back(&sample);
  const Json metrics = aggregate_metrics(make_run().metrics, all);

  ASSERT_EQ(metrics.size(), 1);
  EXPECT_EQ(metrics[0]["name"], "correct");
  EXPECT_EQ(metrics[0]["n"], 4);
  EXPECT_EQ(metrics[0]["value"], 0.75);
  // 3 of 4: centre (.75 + z^2/8)/(1 + z^2/4) = 0.6275, half 0.3269 with z^2 = 3.841459.
  EXPECT_NEAR(metrics[0]["low"].get<double>(), 0.3006, 1e-4);
  EXPECT_NEAR(metrics[0]["high"].get<double>(), 0.9544, 1e-4);
}

TEST(AggregateTest, GroupsByEachAttributeInAscendingOrder) {
  const std::vector<Sample> samples = {make_sample(1, true), make_sample(0, false),
                                       make_sample(2, true)};
  std::vector<const Sample*> all;
  for (const Sample& sample : samples) all.push_back(&sample);
  const Json groups = aggregate_groups(make_run().metrics, make_run().group_by, all);

  ASSERT_EQ(groups["length"].size(), 2);
  EXPECT_EQ(groups["length"][0]["value"], 256);
  EXPECT_EQ(groups["length"][0]["metrics"][0]["value"], 0.5);
  EXPECT_EQ(groups["length"][1]["value"], 512);
  EXPECT_EQ(groups["length"][1]["metrics"][0]["value"], 1.0);
  ASSERT_EQ(groups["depth_decile"].size(), 1);
  EXPECT_EQ(groups["depth_decile"][0]["metrics"][0]["n"], 3);
}

TEST(AggregateTest, SumAndMeanWithoutAnIntervalGiveNull) {
  Sample sample = make_sample(0, true);
  sample.values = {{"loss", 2.5, 1}, {"tokens", 40, 1}};
  const Json metrics = aggregate_metrics(
      {{"loss", "", Aggregate::mean, -1}, {"tokens", "", Aggregate::sum, 0}}, {&sample});
  EXPECT_EQ(metrics[0]["value"], 2.5);
  EXPECT_TRUE(metrics[0]["low"].is_null());
  EXPECT_EQ(metrics[1]["value"], 40);
  EXPECT_TRUE(metrics[1]["high"].is_null());
}

TEST(AggregateTest, ParsedIntegersAreNumbersAndOthersText) {
  Sample sample = make_sample(0, true);
  const std::vector<Metric> metrics = make_run().metrics;
  sample.parsed = "-1";
  EXPECT_EQ(sample_json(sample, metrics)["parsed"], -1);
  sample.parsed = "Paris";
  EXPECT_EQ(sample_json(sample, metrics)["parsed"], "Paris");
  sample.parsed = "99999999999999999999";  // past int64: not rounded
  EXPECT_EQ(sample_json(sample, metrics)["parsed"], "99999999999999999999");
  sample.parsed.reset();
  EXPECT_TRUE(sample_json(sample, metrics)["parsed"].is_null());
  EXPECT_EQ(sample_json(sample, metrics)["correct"], true);
}

TEST(RecordsTest, PromptHashCoversBytesAndIds) {
  // printf 'ab\0\x01\x00\x00\x00\xff\xff\xff\xff' | sha256sum
  EXPECT_EQ(hash_of_prompt("ab", {1, -1}),
            "d1a77be7b65fc6e5b3ea60e635a53a8890ab9f3f9186ae557075279b11340ff0");
  EXPECT_NE(hash_of_prompt("ab", {1}), hash_of_prompt("ab", {2}));
  EXPECT_NE(hash_of_prompt("ab", {1}), hash_of_prompt("ac", {1}));
}

TEST(RecordsTest, RunIsNamedByItsIdentityAlone) {
  okapi::Run run = make_run();
  const std::string name = run.sha256();
  run.info["device"] = "another";
  run.n_items = 9;
  EXPECT_EQ(run.sha256(), name);
  run.identity["seed"] = 2;
  EXPECT_NE(run.sha256(), name);
}

TEST(RecordsTest, BrokenCharactersAreReplaced) {
  EXPECT_EQ(valid_utf8("a\xC3\xA4"), "a\xC3\xA4");
  EXPECT_EQ(valid_utf8("a\xC3"), "a\xEF\xBF\xBD");
}

}  // namespace
}  // namespace okapi
