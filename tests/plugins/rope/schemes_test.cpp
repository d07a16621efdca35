// What each scheme promises in particular, and what it refuses.

#include <algorithm>
#include <cmath>
#include <numbers>

#include <gtest/gtest.h>

#include "runtime/plugin_host/plugin_call.h"
#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

// Dividing frequencies is the same as dividing positions.
TEST(LinearTest, AtScaledPositionIsPlainAtPosition) {
  const RopeTable linear = load_rope("linear:scale=4");
  const RopeTable plain = load_rope("plain");
  for (const double position : {1.0, 17.0, 2047.0}) {
    for (size_t pair = 0; pair < plain.inv_freq.size(); ++pair) {
      EXPECT_DOUBLE_EQ(linear.inv_freq[pair] * (4 * position), plain.inv_freq[pair] * position);
    }
  }
}

TEST(LinearTest, ScaleIsTheRatioOfLengthsUnlessGiven) {
  EXPECT_EQ(load_rope("linear").inv_freq, load_rope("linear:scale=4").inv_freq);
  RopeGeometry within = reference_geometry();
  within.target_length = 100;
  EXPECT_EQ(load_rope("linear", within).inv_freq, load_rope("plain", within).inv_freq);
}

TEST(PowerTest, ZeroChangesNothingAndTheFastestPairNeverChanges) {
  EXPECT_EQ(load_rope("power:exponent=0").inv_freq, load_rope("plain").inv_freq);
  EXPECT_EQ(load_rope("power:exponent=3").inv_freq[0], 1.0);
}

// Section 1.3: the last of 64 pairs is multiplied by (1/64)^0.5 = 0.125.
TEST(PowerTest, LastPairAtHeadDim128) {
  RopeGeometry geometry = reference_geometry();
  geometry.head_dim = geometry.rotary_dim = 128;
  EXPECT_NEAR(load_rope("power", geometry).inv_freq.back() / plain_frequencies(geometry).back(),
              0.125, 1e-15);
}

// Both edges, hit exactly: pair 1 of head_dim 4 turns at base^(-1/2) = 1/100.
TEST(TruncatedTest, RulesDifferAtTheLowerEdge) {
  RopeGeometry geometry = reference_geometry();
  geometry.head_dim = geometry.rotary_dim = 4;
  const double freq = plain_frequencies(geometry)[1];
  const auto second = [&](const std::string& spec) {
    return load_rope(spec, geometry).inv_freq[1];
  };
  const auto text = [](double value) { return Json(value).dump(); };

  EXPECT_EQ(second("truncated:a=" + text(freq) + ",b=0.5,rho=0.001"), 0)
      << "paper: theta <= a stops";
  EXPECT_EQ(second("truncated:a=" + text(std::nextafter(freq, 0)) + ",b=0.5,rho=0.001"), 0.001);
  EXPECT_EQ(second("truncated:a=0.001,b=" + text(freq) + ",rho=0.0001"), freq)
      << "theta >= b stays";
  EXPECT_EQ(second("truncated:a=0.001,b=" + text(std::nextafter(freq, 1)) + ",rho=0.0001"), 0.0001);

  // The repository's: theta = b / 8 = 2 pi / (8 T) is of the middle. Doubles near T = 2 pi / (8
  // theta) land on the edge for one of the neighbours at least.
  double length = kTwoPi / (8 * freq);
  for (int i = 0; i < 64 && kTwoPi / length / 8 != freq; ++i) {
    length = std::nextafter(length, kTwoPi / length / 8 > freq ? 1e9 : 0);
  }
  ASSERT_EQ(kTwoPi / length / 8, freq);
  EXPECT_EQ(second("truncated:length=" + text(length)), kTwoPi / length / 16);
}

TEST(TruncatedTest, OffAtLengthZero) {
  EXPECT_EQ(load_rope("truncated:length=0").inv_freq, load_rope("plain").inv_freq);
}

TEST(TruncatedTest, KeepsWhatTurnedInTrainingUnlessToldOtherwise) {
  EXPECT_EQ(load_rope("truncated").inv_freq, load_rope("truncated:length=2048").inv_freq);
}

TEST(TruncatedTest, TakesOneRuleAtATime) {
  EXPECT_EQ(error_of([] { load_rope("truncated:length=64,a=0.1"); }).field_name(), "length");
  EXPECT_EQ(error_of([] { load_rope("truncated:a=0.1,b=0.2"); }).field_name(), "rho");
  EXPECT_EQ(error_of([] { load_rope("truncated:a=0.2,b=0.1,rho=0"); }).field_name(), "a");
  EXPECT_EQ(error_of([] { load_rope("truncated:length=0.5"); }).field_name(), "length");
  EXPECT_EQ(error_of([] { load_rope("truncated:a=0.1,b=0.2,rho=-1"); }).field_name(), "rho");
}

/// Jitter's positions when the stream yields these numbers, by the plugin's own function.
std::vector<double> jitter(const std::vector<double>& uniforms) {
  const auto host = make_plugin_host();
  const std::vector<PluginMetadata> plugins = host->plugins();
  const auto metadata = std::find_if(plugins.begin(), plugins.end(), [](const auto& plugin) {
    return plugin.name == "randomized";
  });
  const auto loaded = LoadedPlugin::load(*metadata, nullptr);
  const auto* table =
      static_cast<const okapi_rope_scheme_v1*>(loaded->extension(OKAPI_ROPE_EXTENSION));
  const ParamFacts facts{10000, 2048, 2048, 8, 8};
  const auto params = metadata->parameters.resolve(Json::object(), &facts);

  static thread_local const std::vector<double>* numbers;
  numbers = &uniforms;
  okapi_random draw{};
  draw.struct_size = sizeof draw;
  draw.uniform = [](okapi_random* random) { return numbers->at(random->counter++); };
  okapi_rope_geometry geometry{};
  geometry.struct_size = sizeof geometry;
  geometry.phase = OKAPI_PHASE_TRAIN;

  void* instance = nullptr;
  uint32_t flags = table->flags;
  std::vector<double> found(uniforms.size());
  call_plugin("rope.randomized", [&](const okapi_error_sink* sink) {
    return table->create(loaded->state(), params->table(), &instance, &flags, sink);
  });
  call_plugin("rope.randomized", [&](const okapi_error_sink* sink) {
    return table->positions(instance, &geometry, static_cast<int64_t>(found.size()), &draw,
                            found.data(), sink);
  });
  table->destroy(instance);
  return found;
}

// The specification's vectors, section 1.5.
TEST(RandomizedTest, JitterShrinksWhatOvershoots) {
  const double wanted[] = {0.778210116731517, 0.933852140077821, 2.33463035019455, 2.80155642023346,
                           4.04669260700389,  4.98054474708171,  6.45914396887160, 8};
  const std::vector<double> found = jitter({.5, .1, .9, .3, .8, .6, .95, .99});
  for (size_t i = 0; i < 8; ++i) EXPECT_NEAR(found[i], wanted[i], 1e-13);
}

TEST(RandomizedTest, JitterNeverStretches) {
  const double wanted[] = {1, 1.2, 1.6, 2.2, 3, 3.2, 4.2, 4.6};
  const std::vector<double> found = jitter({.5, .1, .2, .3, .4, .1, .5, .2});
  for (size_t i = 0; i < 8; ++i) EXPECT_NEAR(found[i], wanted[i], 1e-14);
}

RopeGeometry training_geometry(uint64_t seed) {
  RopeGeometry geometry = reference_geometry();
  geometry.training = true;
  geometry.seed = seed;
  return geometry;
}

TEST(RandomizedTest, JitterKeepsEpsilonBetweenTokensUnlessItShrinks) {
  const auto rope = parse_rope("randomized:epsilon=0.25");
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<double> found = positions(*rope, training_geometry(seed), 64);
    EXPECT_LE(found.back(), 64 * (1 + 1e-15));
    // Gaps are at least epsilon, times a shrink factor of at least n / (n * 2).
    for (size_t i = 1; i < found.size(); ++i) EXPECT_GE(found[i] - found[i - 1], 0.125);
  }
}

// Ruoss et al.: n distinct integers of 1 .. max, sorted, each equally likely: of 2000 draws of 3 of
// 6 every integer appears in half, 1000 +- 22 (one standard deviation); five of them are allowed.
TEST(RandomizedTest, SubsetDrawsEachPositionEquallyOften) {
  const auto rope = parse_rope("randomized:kind=subset,max=6");
  int counts[7] = {};
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    const std::vector<double> found = positions(*rope, training_geometry(seed), 3);
    for (size_t i = 0; i < 3; ++i) {
      ASSERT_EQ(found[i], std::round(found[i]));
      ASSERT_TRUE(found[i] >= 1 && found[i] <= 6);
      ASSERT_TRUE(i == 0 || found[i] > found[i - 1]);
      ++counts[static_cast<int>(found[i])];
    }
  }
  for (int position = 1; position <= 6; ++position) EXPECT_NEAR(counts[position], 1000, 112);
}

TEST(RandomizedTest, SubsetOfEverythingIsEverything) {
  const auto rope = parse_rope("randomized:kind=subset,max=4");
  EXPECT_EQ(positions(*rope, training_geometry(3), 4), (std::vector<double>{1, 2, 3, 4}));
  const Error error = error_of([&] { positions(*rope, training_geometry(3), 5); });
  EXPECT_EQ(error.code(), Code::invalid_argument);
  EXPECT_EQ(error.field_name(), "max");
}

TEST(RandomizedTest, DrawsInEvaluationOnlyWhenAsked) {
  EXPECT_TRUE(parse_rope("randomized:in_evaluation=true")->has_positions(false));
  EXPECT_FALSE(parse_rope("randomized")->has_positions(false));
}

// The specification, section 1.15: zeta and the amplitudes at B = 512, not centred.
TEST(XposTest, AmplitudesEqualTheSpecification) {
  const auto rope = parse_rope("xpos");
  const double at[] = {0, 1, 5, 1000};
  const double wanted_q[4][4] = {
      {1, 1, 1, 1},
      {0.997556188308873, 0.998502577038090, 0.999137417643938, 0.999615874001840},
      {0.987840517928728, 0.992535274394500, 0.995694522287639, 0.998080844970346},
      {0.0865699368828696, 0.223455001639845, 0.421913655249412, 0.680995355175868}};
  const double wanted_k[4][4] = {
      {1, 1, 1, 1},
      {1.00244979853743, 1.00149966860011, 1.00086332704674, 1.00038427360764},
      {1.01230915502106, 1.00752086681257, 1.00432409500704, 1.00192284526782},
      {11.5513541537291, 4.47517393954671, 2.37015319973196, 1.46843879682814}};
  std::vector<double> log_q;
  std::vector<double> log_k;
  log_magnitudes(*rope, reference_geometry(), at, log_q, log_k);
  for (size_t i = 0; i < 4; ++i) {
    for (size_t pair = 0; pair < 4; ++pair) {
      EXPECT_NEAR(std::exp(log_q[i * 4 + pair]), wanted_q[i][pair], 1e-13);
      EXPECT_NEAR(std::exp(log_k[i * 4 + pair]), wanted_k[i][pair], 2e-14 * wanted_k[i][pair]);
    }
  }
}

// Score = rotated score times zeta^(distance / B), per pair.
TEST(XposTest, ScoreFadesByZetaToTheDistance) {
  const auto rope = parse_rope("xpos:scale_base=128");
  const double at[] = {700, 600};
  std::vector<double> log_q;
  std::vector<double> log_k;
  log_magnitudes(*rope, reference_geometry(), at, log_q, log_k);
  for (size_t pair = 0; pair < 4; ++pair) {
    const double zeta = (2.0 * static_cast<double>(pair) + 0.4 * 8) / (1.4 * 8);
    EXPECT_NEAR(log_q[pair] + log_k[4 + pair], 100.0 / 128 * std::log(zeta), 1e-12);
  }
}

TEST(XposTest, DecayFollowsLinearScalingWhenAsked) {
  const double at[] = {1000};
  std::vector<double> plain;
  std::vector<double> scaled;
  std::vector<double> ignored;
  log_magnitudes(*parse_rope("linear:scale=4 | xpos"), reference_geometry(), at, plain, ignored);
  log_magnitudes(*parse_rope("linear:scale=4 | xpos:decay=scaled"), reference_geometry(), at,
                 scaled, ignored);
  for (size_t pair = 0; pair < 4; ++pair) EXPECT_NEAR(scaled[pair], plain[pair] / 4, 1e-15);
}

TEST(XposTest, StaysFiniteWhereFactorsWouldOverflow) {
  const double at[] = {1e6};
  std::vector<double> log_q;
  std::vector<double> log_k;
  log_magnitudes(*parse_rope("xpos"), reference_geometry(), at, log_q, log_k);
  EXPECT_NEAR(log_k[0], 1e6 / 512 * std::log(3.5), 1e-9);  // zeta_0 = 2/7; e^2447 has no double
  EXPECT_EQ(std::exp(log_k[0]), HUGE_VAL);
}

// The last pair is slowed by scale exactly, the first not at all.
TEST(NtkTest, StretchesTheSlowestPairByScale) {
  for (const int64_t head_dim : {4, 8, 128}) {
    RopeGeometry geometry = reference_geometry();
    geometry.head_dim = geometry.rotary_dim = head_dim;
    const std::vector<double> found = load_rope("ntk:scale=7", geometry).inv_freq;
    EXPECT_EQ(found.front(), 1);
    EXPECT_NEAR(found.back() * 7, plain_frequencies(geometry).back(), 1e-17);
  }
}

TEST(NtkTest, NeedsMoreThanOnePair) {
  RopeGeometry geometry = reference_geometry();
  geometry.head_dim = geometry.rotary_dim = 2;
  EXPECT_EQ(error_of([&] { load_rope("ntk:scale=2", geometry); }).field_name(), "rotary_dim");
  EXPECT_EQ(error_of([&] { load_rope("dynamic_ntk", geometry); }).field_name(), "rotary_dim");
}

TEST(DynamicNtkTest, IsPlainUpToTheTrainedLength) {
  RopeGeometry geometry = reference_geometry();
  for (const int64_t target : {1, 2047, 2048}) {
    geometry.target_length = target;
    EXPECT_EQ(load_rope("dynamic_ntk:scale=8", geometry).inv_freq, plain_frequencies(geometry));
  }
  geometry.target_length = 2049;
  EXPECT_LT(load_rope("dynamic_ntk:scale=8", geometry).inv_freq.back(),
            plain_frequencies(geometry).back());
}

// Paper, section 3.4: sqrt(1/t) = 0.1 ln(scale) + 1, here on cos and sin.
TEST(YarnTest, GainAndTemperatureAreSeparate) {
  EXPECT_NEAR(load_rope("yarn:scale=16").rotation_gain, 1 + 0.1 * std::log(16), 1e-15);
  EXPECT_EQ(load_rope("yarn:scale=16").attention_temperature, 1);
  EXPECT_EQ(load_rope("yarn:scale=16,rotation_gain=1.25").rotation_gain, 1.25);
  EXPECT_EQ(load_rope("yarn:scale=16,attention_temperature=0.8").attention_temperature, 0.8);
}

TEST(YarnTest, ScaleFollowsTheDeclaredLengthUnlessGiven) {
  const auto rope = parse_rope("yarn");
  EXPECT_TRUE(rope->depends_on_length());
  EXPECT_FALSE(parse_rope("yarn:scale=4")->depends_on_length());
  RopeGeometry geometry = reference_geometry();
  for (const auto& [target, spec] : {std::pair{8192, "yarn:scale=4"},
                                     {16384, "yarn:scale=8"},
                                     {2048, "plain"},
                                     {100, "plain"}}) {
    geometry.target_length = target;
    EXPECT_EQ(RopeTable::evaluate(*rope, geometry).inv_freq, load_rope(spec, geometry).inv_freq);
  }
}

// A ratio is measured against the trained length in force, given or not.
TEST(YarnTest, RatioUsesTheTrainedLengthThatWasGiven) {
  EXPECT_EQ(load_rope("yarn:trained_length=512").sha256,
            load_rope("yarn:scale=16,trained_length=512").sha256);
}

TEST(YarnTest, RefusesBetasInTheWrongOrder) {
  EXPECT_EQ(error_of([] { load_rope("yarn:beta_fast=1,beta_slow=1"); }).field_name(), "beta_slow");
}

TEST(LongropeTest, ListFollowsTheDeclaredLength) {
  const auto rope = parse_rope("longrope:short=1;1;1;1,long=1;2;3;4");
  RopeGeometry geometry = reference_geometry();
  geometry.target_length = 2048;
  EXPECT_EQ(RopeTable::evaluate(*rope, geometry).inv_freq, plain_frequencies(geometry));
  geometry.target_length = 2049;
  EXPECT_EQ(RopeTable::evaluate(*rope, geometry).inv_freq[3], plain_frequencies(geometry)[3] / 4);
}

TEST(LongropeTest, NeedsOneFactorPerPair) {
  const Error error = error_of([] { load_rope("longrope:short=1;1;1,long=1;1;1;1"); });
  EXPECT_EQ(error.field_name(), "short");
  EXPECT_NE(error.message().find("wanted 4 factors"), std::string::npos) << error.message();
  EXPECT_EQ(error_of([] { load_rope("longrope:short=1;1;1;0,long=1;1;1;1"); }).field_name(),
            "short");
  EXPECT_EQ(error_of([] { load_rope("longrope:short=1;1;1;1"); }).field_name(), "long");
}

TEST(Llama3Test, RefusesFactorsInTheWrongOrder) {
  EXPECT_EQ(error_of([] { load_rope("llama3:low_freq_factor=4"); }).field_name(),
            "low_freq_factor");
}

// The specification, section 1.14: refused with a message, never clamped.
TEST(RopeSchemesTest, RefuseWhatIsOutOfRange) {
  const char* const refused[] = {
      "linear:scale=0.5",     "linear:scale=nan",      "linear:scale=inf",
      "linear:scale=-1",      "power:exponent=-0.1",   "truncated:length=-1",
      "xpos:scale_base=0",    "xpos:gamma=0",          "plain:base=1",
      "plain:base=inf",       "ntk:scale=0.9",         "dynamic_ntk:scale=0",
      "yarn:scale=0.99",      "yarn:trained_length=0", "yarn:ramp=slope",
      "yarn:rotation_gain=0", "llama3:scale=0",        "randomized:epsilon=2",
      "randomized:max=0",     "randomized:kind=none",  "randomized:in_evaluation=1",
      "randomized:max=1.5",   "yarn:beta_fast=0",      "linear:scale="};
  for (const char* spec : refused) {
    const Error error = error_of([&] { load_rope(spec); });
    EXPECT_EQ(error.code(), Code::invalid_argument) << spec << ": " << error.message();
    EXPECT_FALSE(error.field_name().empty()) << spec;
    EXPECT_NE(error.message().find("rope."), std::string::npos) << error.message();
  }
}

}  // namespace
}  // namespace okapi::test
