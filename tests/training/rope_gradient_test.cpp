// Gradients of the whole network through every registered rope scheme, and through compositions,
// against finite differences. A new scheme is covered once its plugin is there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "runtime/plugin_host/plugin_host.h"
#include "tests/support/plugin_harness.h"
#include "tests/support/temporary_folder.h"
#include "tests/training/windows.h"

namespace okapi::test {
namespace {

constexpr int64_t kPairs = 8;  // head_dim 16

/// Every registered scheme as it comes and, where it takes one, at scale 4; compositions.
std::vector<std::string> specs() {
  std::vector<std::string> specs = {
      "linear:scale=4 | truncated:length=32", "yarn:scale=4 | xpos:scale_base=16",
      "linear:scale=2 | randomized",          "randomized | xpos:scale_base=8",
      "randomized:kind=subset,max=4096",      "dynamic_ntk:scale=2 | xpos:scale_base=16",
  };
  for (const PluginMetadata& plugin : engine()->plugin_host().plugins()) {
    if (std::find(plugin.kinds.begin(), plugin.kinds.end(), "rope") == plugin.kinds.end()) continue;
    const std::string spec = example_spec(plugin, kPairs);
    specs.push_back(spec);
    const bool may_scale =
        plugin.parameters.find("scale") != nullptr && spec.find("scale=") == std::string::npos;
    if (may_scale) {
      specs.push_back(spec + (spec.find(':') == std::string::npos ? ":" : ",") + "scale=4");
    }
  }
  return specs;
}

class RopeGradient : public testing::TestWithParam<std::string> {};

/// The loss along a direction in the space of all weights of q and k, by differences of fourth
/// order, and the same derivative by the gradient. The step moves the loss by 5e-3, which is
/// thousands of times the rounding of its float32 activations and small beside the curvature.
TEST_P(RopeGradient, IsThatOfFiniteDifferences) {
  const TemporaryFolder folder;
  Json config =
      small_run(write_small_config(folder.path() / "model", {{"max_position_embeddings", 24}}), 1);
  config["init"]["random"]["deviation"] = 0.2;
  config["rope"] = {{"train", GetParam()}, {"eval", "plain"}};
  config["batch"] = {{"sequences", 3}};
  config["parameters"] = {{"train", {"*q_proj*", "*k_proj*"}}};
  const auto windows = std::make_shared<DrawnWindows>(30, 40, 96, 3);

  const auto trainer = make_trainer(config, windows);
  double loss = 0;
  const auto gradients = trainer->gradients(&loss);
  const auto values = trainer->values();

  for (const uint64_t seed : {1, 2}) {
    Random random(seed);
    std::vector<std::vector<float>> direction;
    double derivative = 0;
    for (size_t i = 0; i < gradients.size(); ++i) {
      direction.emplace_back();
      // Along the gradient and across it, so that the derivative is not lost in the rounding.
      for (const float slope : gradients[i].values) {
        const double d = slope * random.uniform() * 2;
        direction.back().push_back(static_cast<float>(d));
        derivative += static_cast<double>(slope) * static_cast<float>(d);
      }
    }
    const double step = 5e-3 / derivative;
    const auto loss_at = [&](double factor) {
      auto moved = values;
      for (size_t i = 0; i < moved.size(); ++i) {
        for (size_t k = 0; k < moved[i].values.size(); ++k) {
          moved[i].values[k] += static_cast<float>(factor * step * direction[i][k]);
        }
      }
      trainer->set_values(moved);
      double found = 0;
      static_cast<void>(trainer->gradients(&found));
      return found;
    };
    // Fourth order: 8 (f(h) - f(-h)) - (f(2h) - f(-2h)) over 12 h.
    const double found =
        (8 * (loss_at(1) - loss_at(-1)) - (loss_at(2) - loss_at(-2))) / (12 * step);
    EXPECT_NEAR(found / derivative, 1, 2e-3) << "loss " << loss << ", slope " << derivative;
  }
}

INSTANTIATE_TEST_SUITE_P(EveryScheme, RopeGradient, testing::ValuesIn(specs()),
                         [](const auto& test) {
                           std::string name = std::to_string(test.index) + "_" + test.param;
                           for (char& c : name) {
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           }
                           return name;
                         });

TEST(RopeGradientTest, CoversEveryRegisteredScheme) { EXPECT_GE(specs().size(), 6U + 12U); }

}  // namespace
}  // namespace okapi::test
