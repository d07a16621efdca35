#include "runtime/model/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/model/llama_tensors.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

float value_at(const ConstTensorView& view, size_t index) {
  const auto* halves = static_cast<const uint16_t*>(view.data);
  if (view.dtype == DType::bf16) return from_bf16(halves[index]);
  if (view.dtype == DType::f16) return from_f16(halves[index]);
  return static_cast<const float*>(view.data)[index];
}

void expect_holds_the_weights(const Checkpoint& checkpoint, const TinyModel& model) {
  const auto weights = tiny_model_weights(model);
  ASSERT_EQ(checkpoint.names().size(), weights.size());
  for (const auto& [name, values] : weights) {
    const ConstTensorView view = checkpoint.tensor(name);
    ASSERT_EQ(view.dtype, model.dtype);
    ASSERT_EQ(static_cast<size_t>(view.count()), values.size());
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(value_at(view, i), values[i]) << name;
  }
}

TEST(CheckpointTest, ReadsEveryDtypeInOneFileAndInShards) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const int n_shards : {1, 3}) {
      const TemporaryFolder folder;
      const TinyModel model{.tied_embeddings = n_shards == 3, .dtype = dtype, .n_shards = n_shards};
      write_tiny_model(folder.path(), model);
      const Checkpoint checkpoint = Checkpoint::open(folder.path());
      EXPECT_EQ(checkpoint.files().size(), static_cast<size_t>(n_shards));
      EXPECT_EQ(checkpoint.config().n_kv_heads, 2);
      expect_holds_the_weights(checkpoint, model);
    }
  }
}

TEST(CheckpointTest, StaysValidWhenMoved) {
  const TemporaryFolder folder;
  write_tiny_model(folder.path(), {});
  Checkpoint first = Checkpoint::open(folder.path());
  const ConstTensorView before = first.tensor("model.norm.weight");
  const Checkpoint second = std::move(first);
  EXPECT_EQ(second.tensor("model.norm.weight").data, before.data);
}

// See tests/data/safetensors/README.md.
TEST(CheckpointTest, ReadsAFolderThatTransformersWrote) {
  const auto folder = std::filesystem::path(OKAPI_TEST_DATA) / "safetensors" / "tiny-tied-bf16";
  const Checkpoint checkpoint = Checkpoint::open(folder);
  EXPECT_TRUE(checkpoint.config().tied_embeddings);
  EXPECT_EQ(checkpoint.config().rope_spec, "plain");
  EXPECT_FALSE(checkpoint.has("lm_head.weight"));
  const ConstTensorView embedding = checkpoint.tensor("model.embed_tokens.weight");
  EXPECT_EQ(embedding.shape[0], 384);
  const float expected[] = {0.5546875F, 0.228515625F, 0.98046875F, 1.5703125F};
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(value_at(embedding, i), expected[i]);

  const Checkpoint older = Checkpoint::open(folder, "config.rope_scaling.json");
  EXPECT_EQ(older.config().rope_spec, "linear:scale=2");
  EXPECT_NE(older.sha256(), checkpoint.sha256());
}

TEST(CheckpointTest, TheHashFollowsConfigurationAndWeights) {
  const TemporaryFolder one;
  const TemporaryFolder same;
  const TemporaryFolder other_seed;
  const TemporaryFolder other_config;
  write_tiny_model(one.path(), {.n_shards = 2});
  write_tiny_model(same.path(), {.n_shards = 2});
  write_tiny_model(other_seed.path(), {.n_shards = 2, .seed = 2});
  write_tiny_model(other_config.path(), {.rms_norm_eps = 1e-6, .n_shards = 2});
  const auto hash = [](const TemporaryFolder& folder) {
    return Checkpoint::open(folder.path()).sha256();
  };
  EXPECT_EQ(hash(one), hash(same));
  EXPECT_NE(hash(one), hash(other_seed));
  EXPECT_NE(hash(one), hash(other_config));
  EXPECT_EQ(hash(one).size(), 64U);
}

TEST(CheckpointTest, AnUntiedModelNeedsItsOutputProjection) {
  const TemporaryFolder folder;
  write_tiny_model(folder.path(), {.tied_embeddings = true});
  folder.write("config.json", tiny_model_config({.tied_embeddings = false}).dump());
  try {
    Checkpoint::open(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.field_name(), "lm_head.weight");
    EXPECT_THAT(error.message(), HasSubstr("tie_word_embeddings"));
    EXPECT_THAT(error.file(), HasSubstr("model.safetensors"));
  }
}

// Software that writes both writes the same.
TEST(CheckpointTest, ATiedModelMayRepeatItsEmbeddingAsOutputProjection) {
  const TemporaryFolder folder;
  write_tiny_model(folder.path(), {.tied_embeddings = true});
  const auto path = folder.path() / "model.safetensors";
  const SafetensorsFile file = SafetensorsFile::open(path);
  std::vector<std::pair<std::string, ConstTensorView>> tensors;
  for (const std::string& name : file.names()) tensors.emplace_back(name, file.tensor(name));
  tensors.emplace_back("lm_head.weight", file.tensor("model.embed_tokens.weight"));
  write_safetensors(path, tensors);
  EXPECT_TRUE(Checkpoint::open(folder.path()).config().tied_embeddings);
}

// transformers 5 unties them with a warning, so that its logits are not those of tied embeddings.
TEST(CheckpointTest, ATiedModelMayNotHaveAnotherOutputProjection) {
  const TemporaryFolder folder;
  write_tiny_model(folder.path(), {.tied_embeddings = false});
  folder.write("config.json", tiny_model_config({.tied_embeddings = true}).dump());
  try {
    Checkpoint::open(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.field_name(), "lm_head.weight");
    EXPECT_THAT(error.message(), HasSubstr("tie_word_embeddings"));
    EXPECT_THAT(error.file(), HasSubstr("model.safetensors"));
  }
}

TEST(CheckpointTest, AcceptsTheFrequenciesOldSoftwareStored) {
  const TemporaryFolder folder;
  write_tiny_model(folder.path(), {.n_layers = 1});
  const SafetensorsFile file = SafetensorsFile::open(folder.path() / "model.safetensors");
  std::vector<std::pair<std::string, ConstTensorView>> tensors;
  for (const std::string& name : file.names()) tensors.emplace_back(name, file.tensor(name));
  const float frequencies[8] = {};
  const auto path = folder.path() / "model.safetensors";

  tensors.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq",
                       ConstTensorView(frequencies, DType::f32, {8}));
  write_safetensors(path, tensors);
  EXPECT_NO_THROW(Checkpoint::open(folder.path()));

  tensors.back().first = "model.layers.0.self_attn.q_proj.bias";
  write_safetensors(path, tensors);
  try {
    Checkpoint::open(folder.path());
    FAIL() << "a bias that would be left out was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::unimplemented);
    EXPECT_EQ(error.field_name(), "model.layers.0.self_attn.q_proj.bias");
  }
}

TEST(CheckpointTest, NamesWhatIsMissingInAFolder) {
  const TemporaryFolder folder;
  try {
    Checkpoint::open(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::not_found);
    EXPECT_THAT(error.file(), HasSubstr("config.json"));
  }
  folder.write("config.json", tiny_model_config({}).dump());
  try {
    Checkpoint::open(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::not_found);
    EXPECT_THAT(error.message(), HasSubstr("model.safetensors.index.json"));
  }
}

}  // namespace
}  // namespace okapi::test
