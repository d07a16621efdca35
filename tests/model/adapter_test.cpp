// LoRA adapters: peft's files, beside a session, merged.
#include "runtime/model/adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
#include "runtime/model/adapter_weights.h"
#include "runtime/model/checkpoint.h"
#include "runtime/model/merge_adapter.h"
#include "runtime/model/safetensors.h"
#include "tests/golden/golden_files.h"
#include "tests/support/engine.h"
#include "tests/support/plugin_harness.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

std::filesystem::path peft(const std::string& name) {
  return std::filesystem::path(OKAPI_TEST_DATA) / "training" / name;
}

std::shared_ptr<const Model> tiny_gqa() {
  static const std::shared_ptr<const Model> kModel = Model::load(engine(), golden("tiny-gqa"));
  return kModel;
}

std::vector<float> golden_logits(const std::string& name, size_t row) {
  const SafetensorsFile file = SafetensorsFile::open(peft("lora.safetensors"));
  const ConstTensorView view = file.tensor(name);
  const auto n = static_cast<size_t>(view.count()) / 2;
  const auto* data = static_cast<const float*>(view.data) + row * n;
  return {data, data + n};
}

std::vector<int32_t> golden_ids(size_t row) {
  const std::vector<int32_t> all = Expected("tiny-gqa/expected.safetensors").ids("input_ids");
  const size_t n = all.size() / 2;
  return {all.begin() + static_cast<int64_t>(row * n),
          all.begin() + static_cast<int64_t>((row + 1) * n)};
}

TEST(AdapterTest, BesideASessionItGivesPeftsLogits) {
  for (const auto& [folder, logits] :
       {std::pair("lora-initial", "logits.initial"), std::pair("lora-final", "logits.final")}) {
    SessionOptions options;
    options.adapter =
        AdapterWeights::attach(tiny_gqa(), Adapter::load(peft(folder), tiny_gqa()->config()));
    for (const size_t row : {0, 1}) {
      for (const size_t chunk : {48, 7, 1}) {
        const auto session = Session::create(tiny_gqa(), options);
        EXPECT_LT(relative_error(logits_of_all(*session, golden_ids(row), chunk),
                                 golden_logits(logits, row)),
                  1e-4)
            << folder << " in chunks of " << chunk;
      }
    }
  }
}

TEST(AdapterTest, MergedItGivesPeftsLogits) {
  const TemporaryFolder folder;
  merge_adapter(golden("tiny-gqa"), peft("lora-final"), folder.path());
  const auto model = Model::load(engine(), folder.path());
  for (const size_t row : {0, 1}) {
    const auto session = Session::create(model, {});
    EXPECT_LT(relative_error(logits_of_all(*session, golden_ids(row), 48),
                             golden_logits("logits.final", row)),
              1e-4);
  }
}

// In either layout of pairs, in one of which B is turned on its way to the device and back.
TEST(AdapterTest, DownloadedItIsWhatWasAttached) {
  for (const PairLayout layout : {PairLayout::half_split, PairLayout::interleaved}) {
    ModelOptions options;
    options.pair_layout = layout;
    const auto model = Model::load(engine(), golden("tiny-gqa"), options);
    const Adapter adapter = Adapter::load(peft("lora-final"), model->config());
    EXPECT_EQ(AdapterWeights::attach(model, adapter)->download().sha256(), adapter.sha256());
  }
}

TEST(AdapterTest, SessionsWithAndWithoutShareTheModel) {
  SessionOptions options;
  options.adapter =
      AdapterWeights::attach(tiny_gqa(), Adapter::load(peft("lora-final"), tiny_gqa()->config()));
  const auto with = Session::create(tiny_gqa(), options);
  const auto without = Session::create(tiny_gqa(), {});
  const std::vector<int32_t> ids = golden_ids(0);
  with->prefill(ids);
  without->prefill(ids);
  EXPECT_GT(relative_error(with->logits(), without->logits()), 1e-3);
  const auto plain = Expected("tiny-gqa/expected.safetensors").floats("logits");
  EXPECT_LT(relative_error(without->logits(), std::span(plain).subspan(47 * 512, 512)), 1e-4);

  // In one pass they cannot be: a pass has one set of branches.
  Session* const both[] = {with.get(), without.get()};
  const std::vector<int32_t> next = {5};
  const std::span<const int32_t> tokens[] = {next, next};
  EXPECT_THAT(error_of([&] { Session::advance_batch(both, tokens); }).message(),
              HasSubstr("same adapter"));
  EXPECT_EQ(with->describe()["adapter"]["rank"], 4);
}

TEST(AdapterTest, ASavedSessionWantsItsAdapterBack) {
  const TemporaryFolder folder;
  const Adapter adapter = Adapter::load(peft("lora-final"), tiny_gqa()->config());
  SessionOptions options;
  options.adapter = AdapterWeights::attach(tiny_gqa(), adapter);
  const auto session = Session::create(tiny_gqa(), options);
  session->prefill(golden_ids(0));
  session->save(folder.path() / "session");
  EXPECT_THAT(error_of([&] { Session::restore(tiny_gqa(), folder.path() / "session"); }).message(),
              HasSubstr("adapter: the file was made with"));
  const auto restored = Session::restore(tiny_gqa(), folder.path() / "session", options.adapter);
  session->decode(7);
  restored->decode(7);
  EXPECT_EQ(relative_error(restored->logits(), session->logits()), 0);
}

TEST(AdapterTest, SavedItHasPeftsFilesAndKeys) {
  const TemporaryFolder folder;
  const Adapter adapter = Adapter::load(peft("lora-initial"), tiny_gqa()->config());
  adapter.save(folder.path(), "base/model");
  const SafetensorsFile found = SafetensorsFile::open(folder.path() / "adapter_model.safetensors");
  const SafetensorsFile wanted =
      SafetensorsFile::open(peft("lora-initial/adapter_model.safetensors"));
  ASSERT_EQ(found.names(), wanted.names());
  for (const std::string& name : wanted.names()) {
    const ConstTensorView a = found.tensor(name);
    const ConstTensorView b = wanted.tensor(name);
    EXPECT_EQ(found.shape(name), wanted.shape(name));
    EXPECT_EQ(std::memcmp(a.data, b.data, static_cast<size_t>(a.count()) * sizeof(float)), 0);
  }
  // Every key is one that peft writes, and says the same as peft's.
  const Json mine = parse_json_file(folder.path() / "adapter_config.json", "test");
  const Json pefts = parse_json_file(peft("lora-initial/adapter_config.json"), "test");
  for (const auto& [key, value] : mine.items()) {
    ASSERT_TRUE(pefts.contains(key)) << key;
    if (key == "base_model_name_or_path") continue;
    if (key == "target_modules") {
      EXPECT_EQ(value.get<std::set<std::string>>(), pefts[key].get<std::set<std::string>>());
    } else {
      EXPECT_EQ(value, pefts[key]) << key;
    }
  }
  EXPECT_EQ(Adapter::load(folder.path(), tiny_gqa()->config()).sha256(), adapter.sha256());
}

TEST(AdapterTest, FreshOnesChangeNothingYet) {
  AdapterShape shape;
  shape.rank = 3;
  shape.targets = {Projection::q, Projection::down};
  const Adapter adapter = Adapter::fresh(tiny_gqa()->config(), shape, 1);
  EXPECT_EQ(adapter.modules().size(), 4U);
  SessionOptions options;
  options.adapter = AdapterWeights::attach(tiny_gqa(), adapter);
  const auto with = Session::create(tiny_gqa(), options);
  const auto without = Session::create(tiny_gqa(), {});
  with->prefill(golden_ids(0));
  without->prefill(golden_ids(0));
  EXPECT_EQ(relative_error(with->logits(), without->logits()), 0);

  // A is uniform within 1 / sqrt(inputs), as peft's is: its variance is a third of the square.
  const ConstTensorView a = adapter.find(0, Projection::down)->a.view();
  const auto* values = static_cast<const float*>(a.data);
  const double bound = 1 / std::sqrt(176.0);
  double sum = 0;
  for (int64_t i = 0; i < a.count(); ++i) {
    EXPECT_LE(std::fabs(values[i]), bound);
    sum += static_cast<double>(values[i]) * values[i];
  }
  EXPECT_NEAR(sum / static_cast<double>(a.count()), bound * bound / 3, 0.15 * bound * bound / 3);
}

class AdapterFileTest : public testing::Test {
 protected:
  AdapterFileTest() {
    config_ = parse_json_file(peft("lora-initial/adapter_config.json"), "test");
    std::filesystem::copy_file(peft("lora-initial/adapter_model.safetensors"),
                               folder_.path() / "adapter_model.safetensors");
  }

  Error error() {
    folder_.write("adapter_config.json", config_.dump());
    return error_of([&] { Adapter::load(folder_.path(), tiny_gqa()->config()); });
  }

  TemporaryFolder folder_;
  Json config_;
};

TEST_F(AdapterFileTest, KindsThatComputeSomethingElseAreRefused) {
  const std::pair<const char*, Json> kinds[] = {{"use_dora", true},
                                                {"bias", "all"},
                                                {"fan_in_fan_out", true},
                                                {"modules_to_save", {"x"}},
                                                {"peft_type", "IA3"},
                                                {"rank_pattern", {{"q_proj", 2}}},
                                                {"lora_bias", true},
                                                {"target_modules", "q.*"},
                                                {"exclude_modules", {"q_proj"}},
                                                {"layers_pattern", "blocks"},
                                                {"init_lora_weights", "pissa"},
                                                {"init_lora_weights", "pissa_niter_4"},
                                                {"init_lora_weights", "olora"},
                                                {"init_lora_weights", "loftq"},
                                                {"init_lora_weights", "corda"},
                                                {"init_lora_weights", "lora_ga"},
                                                {"alpha_pattern", {{"q_proj", 2}}},
                                                {"layer_replication", {{0, 1}}},
                                                {"trainable_token_indices", {1, 2}},
                                                {"target_parameters", {"x"}}};
  for (const auto& [key, value] : kinds) {
    const Json before = config_;
    config_[key] = value;
    const Error found = error();
    EXPECT_EQ(found.code(), Code::unimplemented) << key;
    EXPECT_THAT(found.message(), HasSubstr(key));
    config_ = before;
  }
}

TEST_F(AdapterFileTest, WhatOnlyMattersWhenItBeginsIsAccepted) {
  for (const Json& way : {Json(true), Json(false), Json("gaussian"), Json("orthogonal"),
                          Json("eva"), Json(nullptr)}) {
    config_["init_lora_weights"] = way;
    config_["layers_pattern"] = "layers";
    folder_.write("adapter_config.json", config_.dump());
    EXPECT_EQ(Adapter::load(folder_.path(), tiny_gqa()->config()).sha256(),
              Adapter::load(peft("lora-initial"), tiny_gqa()->config()).sha256())
        << way;
  }
}

TEST_F(AdapterFileTest, WhatDoesNotFitIsNamed) {
  config_["r"] = 5;
  EXPECT_THAT(error().message(), HasSubstr("wanted shape [5, 64], found [4, 64]"));
  config_["r"] = 4;
  config_["target_modules"] = {"q_proj", "k_proj", "v_proj", "o_proj", "up_proj"};
  EXPECT_THAT(error().message(), HasSubstr("up_proj.lora_A.weight: the tensor is missing"));
  config_["target_modules"] = {"q_proj", "k_proj", "v_proj"};
  EXPECT_THAT(error().message(), HasSubstr("describes no such tensor"));
  config_["target_modules"] = {"q_proj", "k_proj", "v_proj", "o_proj"};
  config_["sclae"] = 1;
  EXPECT_THAT(error().message(), HasSubstr("sclae: unknown key"));
}

}  // namespace
}  // namespace okapi::test
