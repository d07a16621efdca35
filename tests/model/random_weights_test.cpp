#include "runtime/model/random_weights.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/model/convert.h"

namespace okapi {
namespace {

// The quantile undoes the distribution: P(x) = erfc(-x / sqrt 2) / 2.
TEST(NormalQuantileTest, IsTheInverseOfTheDistribution) {
  for (double probability = 1e-15; probability < 0.5; probability *= 1.7) {
    const double x = normal_quantile(probability);
    EXPECT_NEAR(0.5 * std::erfc(-x / std::sqrt(2.0)) / probability, 1.0, 1e-12) << probability;
  }
  for (double probability = 0.01; probability < 1; probability += 0.01) {
    EXPECT_NEAR(0.5 * std::erfc(-normal_quantile(probability) / std::sqrt(2.0)), probability,
                1e-13);
  }
}

// Tables of the normal distribution.
TEST(NormalQuantileTest, KnownValues) {
  EXPECT_EQ(normal_quantile(0.5), 0.0);
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-14);
  EXPECT_NEAR(normal_quantile(0.9), 1.2815515655446004, 1e-14);
  EXPECT_NEAR(normal_quantile(1e-9), -5.9978070150076865, 1e-12);
}

ModelConfig config() {
  ModelConfig config;
  config.n_layers = 2;
  config.d_model = 64;
  config.d_ff = 128;
  config.vocab_size = 300;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 16;
  return config;
}

std::vector<float> values(const LentTensor& tensor) {
  const auto* data = static_cast<const float*>(tensor.view.data);
  return {data, data + tensor.view.count()};
}

TEST(RandomWeightsTest, AreNormalWithTheDeviationAndNormsAreOne) {
  const WeightSource source = random_weight_source(config(), 5, 0.02, DType::f32, 1);
  const std::vector<float> x = values(source("model.embed_tokens.weight"));
  ASSERT_EQ(x.size(), 300U * 64U);
  double sum = 0;
  double squares = 0;
  double fourth = 0;
  for (const float value : x) {
    sum += value;
    squares += std::pow(value, 2);
    fourth += std::pow(value, 4);
  }
  const auto n = static_cast<double>(x.size());
  const double variance = squares / n;
  // Five standard errors: of the mean s/sqrt(n), the variance s^2 sqrt(2/n), the kurtosis
  // sqrt(24/n).
  EXPECT_NEAR(sum / n, 0, 5 * 0.02 / std::sqrt(n));
  EXPECT_NEAR(variance, 4e-4, 5 * 4e-4 * std::sqrt(2 / n));
  EXPECT_NEAR(fourth / n / (variance * variance), 3, 5 * std::sqrt(24 / n));
  EXPECT_EQ(values(source("model.norm.weight")), std::vector<float>(64, 1.0F));
}

TEST(RandomWeightsTest, DependOnSeedAndNameAlone) {
  const WeightSource one = random_weight_source(config(), 5, 0.02, DType::f32, 1);
  const WeightSource four = random_weight_source(config(), 5, 0.02, DType::f32, 4);
  const WeightSource other = random_weight_source(config(), 6, 0.02, DType::f32, 1);
  const std::string down = "model.layers.1.mlp.down_proj.weight";
  EXPECT_EQ(values(one(down)), values(four(down)));
  EXPECT_NE(values(one(down)), values(other(down)));
  EXPECT_NE(values(one(down)), values(one("model.layers.0.mlp.down_proj.weight")));
}

// Threads split large tensors; the pieces are the same as the whole.
TEST(RandomWeightsTest, ThreadsDoNotChangeThem) {
  ModelConfig large = config();
  large.vocab_size = 5000;
  const auto one = random_weight_source(large, 5, 0.02, DType::f32, 1)("model.embed_tokens.weight");
  const auto four =
      random_weight_source(large, 5, 0.02, DType::f32, 4)("model.embed_tokens.weight");
  EXPECT_EQ(values(one), values(four));
}

TEST(RandomWeightsTest, Bf16IsTheRoundedF32) {
  const auto wide = random_weight_source(config(), 5, 0.02, DType::f32, 1)("lm_head.weight");
  const auto narrow = random_weight_source(config(), 5, 0.02, DType::bf16, 1)("lm_head.weight");
  const auto* bits = static_cast<const uint16_t*>(narrow.view.data);
  const std::vector<float> floats = values(wide);
  for (size_t i = 0; i < floats.size(); ++i) ASSERT_EQ(bits[i], bf16_of_float(floats[i])) << i;
}

}  // namespace
}  // namespace okapi
