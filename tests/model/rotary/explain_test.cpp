#include "runtime/model/rotary/explain.h"

#include <cmath>
#include <numbers>

#include <gtest/gtest.h>

#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

Json explained(const std::string& spec) { return explain(*parse_rope(spec), reference_geometry()); }

double score_at(const Json& json, int64_t distance) {
  for (const Json& point : json["decay"]) {
    if (point["distance"] == distance) return point["score"];
  }
  ADD_FAILURE() << "no distance " << distance;
  return 0;
}

TEST(ExplainTest, LabelsWhatHappenedToEachPair) {
  const auto labels = [](const std::string& spec) {
    std::vector<std::string> found;
    const Json json = explained(spec);
    for (const Json& pair : json["pairs"]) found.push_back(pair["label"]);
    return found;
  };
  using Labels = std::vector<std::string>;
  EXPECT_EQ(labels("plain"), (Labels{"kept", "kept", "kept", "kept"}));
  EXPECT_EQ(labels("yarn:scale=4"), (Labels{"kept", "kept", "stretched", "stretched"}));
  EXPECT_EQ(labels("truncated:length=32"), (Labels{"kept", "stretched", "stopped", "stopped"}));
  EXPECT_EQ(labels("plain:base=100"), (Labels{"kept", "squeezed", "squeezed", "squeezed"}));
}

TEST(ExplainTest, CountsTurnsAndWavelengths) {
  const Json pairs = explained("linear:scale=4")["pairs"];
  constexpr double kTwoPi = 2 * std::numbers::pi;
  EXPECT_DOUBLE_EQ(pairs[1]["wavelength"].get<double>(), kTwoPi / 0.025);
  EXPECT_DOUBLE_EQ(pairs[1]["turns_trained"].get<double>(), 2048 * 0.025 / kTwoPi);
  EXPECT_DOUBLE_EQ(pairs[1]["turns_target"].get<double>(), 8192 * 0.025 / kTwoPi);
  EXPECT_DOUBLE_EQ(pairs[1]["ratio"].get<double>(), 0.25);
  EXPECT_TRUE(explained("truncated:length=32")["pairs"][3]["wavelength"].is_null());
}

// The specification, section 1.15: all-ones q.k at distances 0, 1 and 5, plain and xPos.
TEST(ExplainTest, DecayEqualsTheSpecification) {
  const Json plain = explained("plain");
  EXPECT_NEAR(score_at(plain, 0), 8, 1e-12);
  EXPECT_NEAR(score_at(plain, 1), 7.070511943126, 1e-12);
  EXPECT_NEAR(score_at(plain, 5), 6.319965015549, 1e-12);
  const Json xpos = explained("xpos");
  EXPECT_NEAR(score_at(xpos, 1), 7.062397934707, 1e-12);
  EXPECT_NEAR(score_at(xpos, 5), 6.287526362938, 1e-12);
  EXPECT_EQ(plain["decay"].back()["distance"], 8191);
}

TEST(ExplainTest, DecayCarriesGainAndTemperature) {
  const double gain = 0.1 * std::log(4) + 1;
  EXPECT_NEAR(score_at(explained("yarn:scale=4"), 0), 8 * gain * gain, 1e-12);
  EXPECT_NEAR(score_at(explained("yarn:scale=4,attention_temperature=2"), 0), 4 * gain * gain,
              1e-12);
}

TEST(ExplainTest, HoldsSpecGeometryAndHash) {
  const Json json = explained("yarn");
  EXPECT_EQ(json["geometry"]["target_length"], 8192);
  EXPECT_EQ(json["table"]["sha256"], load_rope("yarn").sha256);
  EXPECT_EQ(json["schemes"][0]["parameters"]["scale"]["source"], "model");
  EXPECT_TRUE(json["depends_on_length"].get<bool>());
}

}  // namespace
}  // namespace okapi::test
