// Plans against what a trainer really allocates.
#include "runtime/training/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "backends/training.h"
#include "tests/support/temporary_folder.h"
#include "tests/training/windows.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

std::shared_ptr<const WindowSource> full_windows() {
  return std::make_shared<DrawnWindows>(33, 33, 96, 7);
}

TEST(PlanTest, MemoryIsWhatATrainerAllocates) {
  const TemporaryFolder folder;
  const std::filesystem::path model = write_small_config(folder.path() / "model");
  std::vector<Json> runs;
  runs.push_back(small_run(model, 1));
  runs.push_back(runs[0]);
  runs.back()["recompute"] = true;
  runs.push_back(runs[0]);
  runs.back()["lora"] = {{"rank", 3}, {"dropout", 0.1}, {"targets", {"q_proj", "down_proj"}}};
  runs.push_back(runs[0]);
  runs.back()["parameters"] = {{"train", {"norm", "*layers.2.self_attn.v_proj*"}}};
  runs.back()["batch"]["micro"] = 2;
  runs.push_back(runs[0]);
  runs.back()["parameters"] = {{"train", "embed"}};
  if (engine()->backend()->training()->computes_in(DType::bf16)) {
    for (size_t i = 0, n = runs.size(); i < n; ++i) {
      runs.push_back(runs[i]);
      runs.back()["compute_dtype"] = "bf16";
    }
  }

  for (Json& run : runs) {
    run["batch"]["length"] = 33;
    const auto trainer = make_trainer(run, full_windows());
    static_cast<void>(trainer->step());
    const TrainerMemory real = trainer->memory();
    const TrainingPlan plan = plan_training(engine(), TrainerConfig::from_json(run), {.gflops = 1});
    EXPECT_EQ(plan.memory.masters, real.masters) << run;
    EXPECT_EQ(plan.memory.prepared_weights, real.prepared_weights) << run;
    EXPECT_EQ(plan.memory.gradients, real.gradients) << run;
    EXPECT_EQ(plan.memory.moments, real.moments) << run;
    EXPECT_EQ(plan.memory.activations, real.activations) << run;
    // A backend may keep weights in a layout that pads.
    const auto frozen = static_cast<double>(real.frozen_weights);
    EXPECT_NEAR(static_cast<double>(plan.memory.frozen_weights), frozen, 0.02 * frozen) << run;
  }
}

// 6 operations for each weight of a product and token: forward, towards the input, towards the
// weight. Attention has two products forward and five backward, of which one is made again, and
// sees half of a window.
TEST(PlanTest, OperationsAreThoseOfTheFormula) {
  const TemporaryFolder folder;
  Json run = small_run(write_small_config(folder.path() / "model"), 10);
  run["batch"] = {{"sequences", 2}, {"length", 33}};
  run["recompute"] = false;
  const TrainingPlan plan = plan_training(nullptr, TrainerConfig::from_json(run), {.gflops = 2});
  const double weights = 3.0 * (48 * (6 + 2 + 2) * 16 + 6 * 16 * 48 + 3 * 48 * 112) + 96 * 48;
  const double tokens = 64;
  const double attention = tokens * 3 * 4 * (6 * 16) * 33 / 2;
  EXPECT_NEAR(plan.flops_per_step, tokens * 6 * weights + 3.5 * attention,
              1e-9 * plan.flops_per_step);
  EXPECT_NEAR(plan.useful_flops_per_step, tokens * 6 * weights + 3 * attention,
              1e-9 * plan.flops_per_step);
  EXPECT_NEAR(plan.seconds_per_step, plan.flops_per_step / 2e9, 1e-15);
  EXPECT_NEAR(plan.seconds(), 10 * plan.seconds_per_step, 1e-12);
}

TEST(PlanTest, AdaptersOfASevenBillionModelAtThirtyTwoThousandTokens) {
  const TemporaryFolder folder;
  folder.write("config.json", R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
      "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
      "num_attention_heads": 32, "num_key_value_heads": 32, "rms_norm_eps": 1e-5,
      "rope_theta": 10000.0, "vocab_size": 32000, "max_position_embeddings": 4096,
      "tie_word_embeddings": false, "torch_dtype": "bfloat16"})");
  const Json run = {{"model", folder.path().string()},
                    {"steps", 1000},
                    {"rope", {{"train", "linear:scale=8"}}},
                    {"lora", {{"rank", 8}}},
                    {"optimizer", {{"learning_rate", 2e-5}}},
                    {"batch", {{"sequences", 4}, {"micro", 1}, {"length", 32768}}}};
  const TrainingPlan plan = plan_training(engine(), TrainerConfig::from_json(run),
                                          {.available_bytes = uint64_t{16} << 30, .gflops = 300});
  // The published count of parameters, 6 738 415 616; adapters of 19 988 480 by peft at rank 8.
  EXPECT_EQ(plan.n_parameters, 6738415616U);
  EXPECT_EQ(plan.n_trained, 19988480U);
  EXPECT_TRUE(plan.recomputes);
  EXPECT_NEAR(static_cast<double>(plan.memory.frozen_weights), 2.0 * 6738415616, 1e7);
  EXPECT_EQ(plan.memory.moments, 8U * 19988480U);
  EXPECT_FALSE(plan.fits());
  const std::string text = plan.text();
  EXPECT_THAT(text, HasSubstr("does not fit: "));
  EXPECT_THAT(text, HasSubstr("which fits"));  // something would
  EXPECT_EQ(plan.json()["missing_bytes"], plan.total_bytes() - (uint64_t{16} << 30));

  const TrainingPlan roomy = plan_training(engine(), TrainerConfig::from_json(run),
                                           {.available_bytes = uint64_t{512} << 30, .gflops = 300});
  EXPECT_TRUE(roomy.fits());
  EXPECT_TRUE(roomy.remedies.empty());
}

TEST(PlanTest, ActivationsAreKeptUpToHalfOfWhatParametersLeave) {
  const TemporaryFolder folder;
  Json run = small_run(write_small_config(folder.path() / "model"), 10);
  run["batch"]["length"] = 33;
  const auto plan = [&](uint64_t available) {
    return plan_training(nullptr, TrainerConfig::from_json(run),
                         {.available_bytes = available, .gflops = 1});
  };
  const TrainingPlan roomy = plan(uint64_t{1} << 40);
  EXPECT_FALSE(roomy.recomputes);
  const TrainerMemory& kept = roomy.memory;
  const uint64_t parameters = kept.frozen_weights + kept.masters + kept.gradients + kept.moments;
  EXPECT_FALSE(plan(parameters + 2 * kept.activations).recomputes);
  const TrainingPlan tight = plan(parameters + 2 * kept.activations - 2);
  EXPECT_TRUE(tight.recomputes);
  EXPECT_LT(tight.memory.activations, kept.activations);
  EXPECT_TRUE(plan(1).recomputes);
  run["recompute"] = false;
  EXPECT_FALSE(plan(1).recomputes);
}

TEST(PlanTest, TheDataMaySayTheLength) {
  const TemporaryFolder folder;
  Json run = small_run(write_small_config(folder.path() / "model"), 10);
  const auto plan = [&] {
    return plan_training(nullptr, TrainerConfig::from_json(run), {.gflops = 1}).step_tokens;
  };
  EXPECT_THROW(static_cast<void>(plan()), Error);
  run["data"] = {{"length", 17}};
  EXPECT_EQ(plan(), 4 * 16);
  run["batch"]["length"] = 33;
  EXPECT_EQ(plan(), 4 * 32);
}

TEST(PlanTest, MeasuresTheMachineWhereNothingIsGiven) {
  const TemporaryFolder folder;
  Json run = small_run(write_small_config(folder.path() / "model"), 10);
  run["batch"]["length"] = 33;
  const TrainingPlan plan = plan_training(engine(), TrainerConfig::from_json(run));
  EXPECT_GT(plan.gflops, 0);
  EXPECT_GT(plan.available_bytes, uint64_t{1} << 20);
  EXPECT_GT(plan.seconds_per_step, 0);
}

}  // namespace
}  // namespace okapi::test
