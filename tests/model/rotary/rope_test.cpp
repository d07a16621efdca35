#include "runtime/model/rotary/rope.h"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

TEST(RopeTest, EachSchemeReceivesTheTableOfTheOneBefore) {
  const std::vector<double> linear = load_rope("linear:scale=4").inv_freq;
  const std::vector<double> both = load_rope("linear:scale=4 | power:exponent=1").inv_freq;
  for (size_t pair = 0; pair < 4; ++pair) {
    EXPECT_DOUBLE_EQ(both[pair], linear[pair] * (1 - static_cast<double>(pair) / 4));
  }
}

TEST(RopeTest, GainsTemperaturesAndMagnitudesMultiply) {
  const auto host = make_plugin_host();
  okapi_rope_scheme_v1 scheme{};
  scheme.struct_size = sizeof scheme;
  scheme.flags = OKAPI_ROPE_THREAD_SAFE;
  scheme.table = [](void*, const okapi_rope_geometry*, okapi_rope_table_v1* table,
                    const okapi_error_sink*) -> int32_t {
    table->rotation_gain = 1.5;
    table->attention_temperature = 2;
    table->n_written = table->n_pairs;
    return OKAPI_OK;
  };
  host->register_rope("louder", "", scheme, nullptr, nullptr);
  const RopeGeometry geometry = reference_geometry();
  const auto rope = Rope::parse("yarn:scale=4 | louder | louder | xpos | xpos", *host, geometry);
  const RopeTable table = RopeTable::evaluate(*rope, geometry);
  EXPECT_DOUBLE_EQ(table.rotation_gain, 2.25 * (0.1 * std::log(4) + 1));
  EXPECT_DOUBLE_EQ(table.attention_temperature, 4);

  const double at[] = {0, 512};
  std::vector<double> log_q;
  std::vector<double> log_k;
  log_magnitudes(*rope, geometry, at, log_q, log_k);
  EXPECT_NEAR(log_q[4], 2 * std::log(2.0 / 7), 1e-14);
}

TEST(RopeTest, RefusesASchemeThatStartsFromTheBaseLaterInTheList) {
  for (const char* spec : {"linear:scale=4 | yarn:scale=4", "power | plain", "yarn | ntk"}) {
    const Error error = error_of([&] { parse_rope(spec); });
    EXPECT_EQ(error.code(), Code::invalid_argument) << spec;
    EXPECT_NE(error.message().find("must come first"), std::string::npos) << error.message();
  }
}

TEST(RopeTest, RefusesTwoSchemesThatGivePositions) {
  const Error error = error_of([] { parse_rope("randomized | randomized:kind=subset"); });
  EXPECT_EQ(error.code(), Code::invalid_argument);
  EXPECT_NE(error.message().find("give positions"), std::string::npos) << error.message();
}

TEST(RopeTest, NamesWhatThereIsWhenASchemeIsUnknown) {
  const Error error = error_of([] { parse_rope("yarm:scale=4"); });
  EXPECT_EQ(error.code(), Code::not_found);
  EXPECT_NE(error.message().find("did you mean yarn?"), std::string::npos) << error.message();
  EXPECT_NE(error.message().find("dynamic_ntk, linear"), std::string::npos) << error.message();
}

TEST(RopeTest, SuggestsTheParameterThatWasMeant) {
  const Error error = error_of([] { parse_rope("linear:scal=4"); });
  EXPECT_EQ(error.field_name(), "scal");
  EXPECT_NE(error.message().find("did you mean scale?"), std::string::npos) << error.message();
  EXPECT_EQ(error_of([] { parse_rope("linear:scale=4,scale=4"); }).field_name(), "scale");
}

TEST(RopeTest, FindsSchemesByFullIdToo) {
  EXPECT_EQ(parse_rope("org.okapi.rope.linear:scale=4")->canonical(), "linear:scale=4");
}

TEST(RopeTest, CanonicalFormHoldsEveryParameterInForce) {
  EXPECT_EQ(parse_rope("llama3: scale = 8.0")->canonical(),
            "llama3:scale=8,low_freq_factor=1,high_freq_factor=4,trained_length=2048,base=10000");
  EXPECT_EQ(parse_rope("plain|truncated:length=1e3")->canonical(),
            "plain:base=10000 | truncated:length=1000");
  const auto by_length = parse_rope("linear");
  EXPECT_EQ(by_length->canonical(), "linear:scale=auto");
  EXPECT_EQ(by_length->canonical_at(reference_geometry()), "linear:scale=4");
  EXPECT_EQ(parse_rope("linear:scale=auto")->canonical(), "linear:scale=auto");
}

TEST(RopeTest, FactorsThatWouldOverflowScoresAreRefused) {
  for (const auto& [spec, field] :
       {std::pair("yarn:rotation_gain=1e200", "rotation_gain"),
        std::pair("yarn:rotation_gain=1e-7", "rotation_gain"),
        std::pair("yarn:attention_temperature=1e-300", "attention_temperature")}) {
    const Error error = error_of([&, spec = spec] { load_rope(spec); });
    EXPECT_EQ(error.code(), Code::invalid_argument) << spec;
    EXPECT_EQ(error.field_name(), field) << spec << ": " << error.full_message();
  }
  EXPECT_NO_THROW(load_rope("yarn:rotation_gain=100,attention_temperature=0.001"));
}

TEST(RopeTest, SaysWhereEachParameterCameFrom) {
  const Json params =
      parse_rope("yarn:beta_fast=16")->json_at(reference_geometry())["schemes"][0]["parameters"];
  EXPECT_EQ(params["beta_fast"], (Json{{"value", 16}, {"source", "given"}}));
  EXPECT_EQ(params["beta_slow"], (Json{{"value", 1}, {"source", "default"}}));
  EXPECT_EQ(params["scale"], (Json{{"value", 4}, {"source", "model"}}));
  EXPECT_EQ(params["base"], (Json{{"value", 10000}, {"source", "model"}}));
  EXPECT_EQ(params["rotation_gain"], (Json{{"value", nullptr}, {"source", "unset"}}));
}

TEST(RopeTest, NamesPluginVersionAndFileHash) {
  const Json scheme = parse_rope("linear:scale=4")->json()["schemes"][0];
  EXPECT_EQ(scheme["id"], "org.okapi.rope.linear");
  EXPECT_EQ(scheme["sha256"].get<std::string>().size(), 64U);
  EXPECT_FALSE(scheme["version"].get<std::string>().empty());
}

TEST(RopeTest, RefusesGeometriesThatNoModelHas) {
  const auto refused = [](auto change, const char* field) {
    RopeGeometry geometry = reference_geometry();
    change(geometry);
    const Error error = error_of([&] { parse_rope("plain", geometry); });
    EXPECT_EQ(error.code(), Code::invalid_argument);
    EXPECT_EQ(error.field_name(), field);
  };
  refused([](RopeGeometry& g) { g.rotary_dim = 7; }, "rotary_dim");
  refused([](RopeGeometry& g) { g.rotary_dim = 0; }, "rotary_dim");
  refused([](RopeGeometry& g) { g.rotary_dim = 10; }, "rotary_dim");
  refused([](RopeGeometry& g) { g.head_dim = 0; }, "head_dim");
  refused([](RopeGeometry& g) { g.base = 1; }, "base");
  refused([](RopeGeometry& g) { g.base = std::nan(""); }, "base");
  refused([](RopeGeometry& g) { g.trained_length = 0; }, "trained_length");
  refused([](RopeGeometry& g) { g.target_length = -1; }, "target_length");
  refused([](RopeGeometry& g) { g.layer = 1; }, "layer");
}

// GPT-NeoX rotates a part of each head: frequencies are of that part.
TEST(RopeTest, PartialRotationUsesTheRotatedPart) {
  RopeGeometry geometry = reference_geometry();
  geometry.head_dim = 16;
  EXPECT_EQ(load_rope("plain", geometry).inv_freq, load_rope("plain").inv_freq);
}

}  // namespace
}  // namespace okapi::test
