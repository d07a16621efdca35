// What must hold for every scheme that is registered, whatever it is: a new plugin is covered the
// moment it is built.

#include <cmath>
#include <complex>

#include <gtest/gtest.h>

#include "runtime/plugin_host/conformance.h"
#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

std::vector<PluginMetadata> schemes() {
  std::vector<PluginMetadata> found;
  for (const PluginMetadata& plugin : make_plugin_host()->plugins()) {
    if (plugin.kinds.front() == "rope") found.push_back(plugin);
  }
  return found;
}

class RegisteredRopeTest : public testing::TestWithParam<PluginMetadata> {
 protected:
  static RopeGeometry geometry(int64_t head_dim) {
    RopeGeometry geometry = reference_geometry();
    geometry.head_dim = geometry.rotary_dim = head_dim;
    return geometry;
  }

  static std::string spec(int64_t head_dim) { return example_spec(GetParam(), head_dim / 2); }
};

TEST_P(RegisteredRopeTest, MeetsTheContractOfItsKind) {
  for (const ConformanceCheck& check : check_plugin(GetParam().path, nullptr)) {
    EXPECT_TRUE(check.passed) << check.check << ": " << check.detail;
  }
}

TEST_P(RegisteredRopeTest, DeclaresWhatPeopleNeed) {
  EXPECT_EQ(GetParam().id, "org.okapi.rope." + GetParam().name);
  EXPECT_EQ(GetParam().license, "Apache-2.0");
  EXPECT_FALSE(GetParam().summary.empty());
  EXPECT_EQ(GetParam().path.stem(), GetParam().name);
  for (const ParamSpec& param : GetParam().parameters.specs())
    EXPECT_FALSE(param.help.empty()) << param.name;
}

TEST_P(RegisteredRopeTest, GivesTheSameTableToEveryHostAndThroughItsCanonicalForm) {
  for (const int64_t head_dim : {8, 64, 128}) {
    const RopeGeometry at = geometry(head_dim);
    const auto rope = parse_rope(spec(head_dim), at);
    const auto again = parse_rope(rope->canonical(), at);
    EXPECT_EQ(again->canonical(), rope->canonical());
    EXPECT_EQ(again->canonical_at(at), rope->canonical_at(at));
    for (const int64_t target : {1024, 2048, 8192, 30000}) {
      RopeGeometry there = at;
      there.target_length = target;
      EXPECT_EQ(RopeTable::evaluate(*rope, there).sha256,
                RopeTable::evaluate(*again, there).sha256);
    }
  }
}

TEST_P(RegisteredRopeTest, TableStandsStillUnlessItSaysThatItDependsOnLength) {
  const RopeGeometry at = geometry(64);
  const auto rope = parse_rope(spec(64), at);
  RopeGeometry longer = at;
  longer.target_length = 32768;
  const bool moved = !(RopeTable::evaluate(*rope, at) == RopeTable::evaluate(*rope, longer));
  EXPECT_TRUE(!moved || rope->depends_on_length());
}

TEST_P(RegisteredRopeTest, NeverRotatesFasterThanPlain) {
  const RopeGeometry at = geometry(64);
  const std::vector<double> plain = plain_frequencies(at);
  const std::vector<double> found = load_rope(spec(64), at).inv_freq;
  for (size_t pair = 0; pair < plain.size(); ++pair) {
    EXPECT_LE(found[pair], plain[pair] * (1 + 1e-12)) << "pair " << pair;
  }
}

// The rotation of pair i makes the score a function of the distance alone: with z_q, z_k the pair
// as a complex number, Re(z_q e^(i m theta) conj(z_k e^(i n theta))), times the magnitudes'
// quotient.
TEST_P(RegisteredRopeTest, ScoresDependOnDistanceAlone) {
  const RopeGeometry at = geometry(16);
  const auto rope = parse_rope(spec(16), at);
  const RopeTable table = RopeTable::evaluate(*rope, at);
  const size_t n_pairs = table.inv_freq.size();
  const auto score = [&](double m, double n) {
    const double positions[] = {m, n};
    std::vector<double> log_q;
    std::vector<double> log_k;
    log_magnitudes(*rope, at, positions, log_q, log_k);
    double sum = 0;
    for (size_t pair = 0; pair < n_pairs; ++pair) {
      const auto q = std::complex<double>(0.3, 1.1) * std::polar(1.0, m * table.inv_freq[pair]);
      const auto k = std::complex<double>(-0.7, 0.4) * std::polar(1.0, n * table.inv_freq[pair]);
      sum += std::exp(log_q[pair] + log_k[n_pairs + pair]) * std::real(q * std::conj(k));
    }
    return sum;
  };
  for (const double shift : {1.0, 37.0, 5000.0}) {
    EXPECT_NEAR(score(100, 40), score(100 + shift, 40 + shift), 1e-9);
  }
}

TEST_P(RegisteredRopeTest, PositionsInEvaluationArePlain) {
  const auto rope = parse_rope(spec(16), geometry(16));
  const std::vector<double> found = positions(*rope, geometry(16), 5);
  EXPECT_EQ(found, (std::vector<double>{0, 1, 2, 3, 4}));
  EXPECT_FALSE(rope->has_positions(false));
}

TEST_P(RegisteredRopeTest, DrawnPositionsFollowTheSeed) {
  RopeGeometry at = geometry(16);
  at.training = true;
  const auto rope = parse_rope(spec(16), at);
  if (!rope->has_positions(true)) return;
  at.seed = 7;
  const std::vector<double> first = positions(*rope, at, 100);
  EXPECT_EQ(positions(*rope, at, 100), first);
  RopeGeometry last_layer = at;
  last_layer.n_layers = 4;
  last_layer.layer = 3;
  EXPECT_EQ(positions(*rope, last_layer, 100), first) << "all layers share one draw";
  at.seed = 8;
  EXPECT_NE(positions(*rope, at, 100), first);
}

TEST_P(RegisteredRopeTest, IsPlainAtScale1WhereItSaysSo) {
  const auto scheme = make_plugin_host()->rope(GetParam().name);
  if ((scheme->flags() & OKAPI_ROPE_PLAIN_AT_SCALE_1) == 0) return;
  for (const int64_t head_dim : {4, 8, 64, 128}) {
    const bool has_scale = scheme->parameters().find("scale") != nullptr;
    const RopeTable table =
        load_rope(GetParam().name + (has_scale ? ":scale=1" : ""), geometry(head_dim));
    const std::vector<double> plain = plain_frequencies(geometry(head_dim));
    for (size_t pair = 0; pair < plain.size(); ++pair) {
      EXPECT_NEAR(table.inv_freq[pair], plain[pair], 1e-15 * plain[pair]);
    }
    EXPECT_EQ(table.rotation_gain, 1);
    EXPECT_EQ(table.attention_temperature, 1);
  }
}

TEST_P(RegisteredRopeTest, RefusesUnknownParametersListingTheKnown) {
  const Error error =
      error_of([&] { parse_rope(GetParam().name + ":no_such_thing=1", geometry(16)); });
  EXPECT_EQ(error.code(), Code::invalid_argument);
  EXPECT_EQ(error.field_name(), "no_such_thing");
  for (const std::string& known : GetParam().parameters.names()) {
    EXPECT_NE(error.message().find(known), std::string::npos) << error.message();
  }
}

INSTANTIATE_TEST_SUITE_P(All, RegisteredRopeTest, testing::ValuesIn(schemes()),
                         [](const auto& scheme) { return scheme.param.name; });

TEST(RegisteredRopesTest, AreThoseTheDocumentationNames) {
  std::vector<std::string> names;
  for (const PluginMetadata& plugin : schemes()) names.push_back(plugin.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"dynamic_ntk", "linear", "llama3", "longrope", "ntk", "plain",
                                      "power", "randomized", "truncated", "xpos", "yarn"}));
}

}  // namespace
}  // namespace okapi::test
