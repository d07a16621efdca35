// The law: prefill in any chunks, then decode, gives the same logits as one pass over the whole
// sequence at the same declared length. For every scheme that is registered, and some compositions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

#include "runtime/model/rotary/rope.h"
#include "runtime/plugin_host/plugin_host.h"
#include "tests/support/engine.h"

namespace okapi::test {
namespace {

constexpr int64_t kTrained = 64;
constexpr int64_t kLength = 150;
constexpr double kRounding = 2e-5;  // float32 sums in another order, through three sharp layers

std::shared_ptr<const Model> small_model() {
  static const std::shared_ptr<const Model> kModel =
      Model::random(engine(), small_config(128, kTrained), 7);
  return kModel;
}

/// Parameters for schemes that have some without a default; those of others stay as they are.
std::string with_required_parameters(const std::string& scheme) {
  if (scheme == "longrope") {
    return "longrope:short=1;1;1;1.1;1.1;1.2;1.3;1.4,long=1;1.5;2;2.5;3;3.5;4;5";
  }
  return scheme;
}

/// Every registered scheme as it comes, and where it takes one, at scale 4.
std::vector<std::string> specs() {
  std::vector<std::string> specs = {
      "linear:scale=4 | truncated:length=32",
      "yarn:scale=4 | xpos:scale_base=64",
      "xpos:scale_base=2",  // magnitudes e^90 within the sequence: past float32 if taken at face
                            // value
      "dynamic_ntk:scale=2 | xpos:scale_base=16",
      "randomized:kind=subset,max=4096",
  };
  for (const PluginMetadata& plugin : engine()->plugin_host().plugins()) {
    if (std::find(plugin.kinds.begin(), plugin.kinds.end(), "rope") == plugin.kinds.end()) continue;
    const std::string spec = with_required_parameters(plugin.name);
    specs.push_back(spec);
    if (plugin.parameters.find("scale") != nullptr) {
      specs.push_back(spec + (spec.find(':') == std::string::npos ? ":" : ",") + "scale=4");
    }
  }
  return specs;
}

class Law : public testing::TestWithParam<std::string> {};

TEST_P(Law, AnyChunksGiveTheLogitsOfOnePass) {
  const std::vector<int32_t> ids = random_ids(kLength, 128, 3);
  SessionOptions options;
  options.rope = small_model()->parse_rope(GetParam());
  options.rope_length = kLength;
  options.seed = 11;
  const std::vector<float> once =
      logits_of_all(*Session::create(small_model(), options), ids, kLength);
  for (const size_t chunk : {1, 7, 64}) {
    const std::vector<float> found =
        logits_of_all(*Session::create(small_model(), options), ids, chunk);
    EXPECT_LT(relative_error(found, once), kRounding) << "in chunks of " << chunk;
  }

  options.prefill_chunk = 13;  // passes shorter than the call
  options.raw_keys = true;     // rotated as they are read
  const std::vector<float> raw = logits_of_all(*Session::create(small_model(), options), ids, 50);
  EXPECT_LT(relative_error(raw, once), kRounding) << "with raw keys";
}

// A sequence that outgrows its declared length is as one that was declared longer from the start.
TEST_P(Law, OutgrowingTheLengthIsAsIfDeclaredBefore) {
  const std::vector<int32_t> ids = random_ids(kLength, 128, 3);
  SessionOptions options;
  options.rope = small_model()->parse_rope(GetParam());
  options.rope_length = 40;
  options.seed = 11;
  const auto grown = Session::create(small_model(), options);
  grown->prefill(std::span(ids).first(100));
  for (size_t i = 100; i < ids.size(); ++i) grown->decode(ids[i]);

  if (options.rope->depends_on_length() || options.rope->has_positions(false)) {
    EXPECT_GE(grown->declared_length(), kLength);
    options.rope_length = grown->declared_length();
  }
  const auto declared = Session::create(small_model(), options);
  declared->prefill(ids);
  EXPECT_LT(relative_error(grown->logits(), declared->logits()), kRounding);
}

// What a program without a cache computes: every pass at the length it has.
TEST_P(Law, FollowIsOnePassAtEveryLength) {
  const std::vector<int32_t> ids = random_ids(80, 128, 3);
  SessionOptions options;
  options.rope = small_model()->parse_rope(GetParam());
  options.rope_length = kRopeLengthFollow;
  options.seed = 11;
  const auto following = Session::create(small_model(), options);
  following->prefill(std::span(ids).first(60));
  for (size_t n = 61; n <= ids.size(); ++n) {
    following->decode(ids[n - 1]);
    SessionOptions once = options;
    once.rope_length = static_cast<int64_t>(n);
    const auto whole = Session::create(small_model(), once);
    whole->prefill(std::span(ids).first(n));
    ASSERT_LT(relative_error(following->logits(), whole->logits()), kRounding) << n << " tokens";
  }
}

INSTANTIATE_TEST_SUITE_P(EveryScheme, Law, testing::ValuesIn(specs()), [](const auto& test) {
  std::string name = std::to_string(test.index) + "_" + test.param;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
});

TEST(LawTest, CoversEveryRegisteredScheme) { EXPECT_GE(specs().size(), 5U + 11U); }

}  // namespace
}  // namespace okapi::test
