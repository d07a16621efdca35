#include "runtime/model/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "runtime/base/error.h"
#include "runtime/model/checkpoint.h"
#include "runtime/model/convert.h"
#include "runtime/model/llama_tensors.h"
#include "runtime/model/permute_pairs.h"
#include "runtime/model/rotary/rope.h"
#include "runtime/model/safetensors.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/support/engine.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace okapi::test {
namespace {

std::vector<float> logits_of(const std::shared_ptr<const Model>& model, int64_t n = 50) {
  const auto session = Session::create(model, {});
  return logits_of_all(*session, random_ids(n, 128, 1), static_cast<size_t>(n));
}

TEST(ModelTest, HalfPrecisionFilesComputeAsTheirValues) {
  const TemporaryFolder f16;
  const TemporaryFolder f32;
  write_tiny_model(f16.path(), {.dtype = DType::f16, .n_shards = 2});
  const auto half = Model::load(engine(), f16.path());
  EXPECT_EQ(half->dtype(), DType::f32);  // only bf16 is kept narrow

  // The same values, widened on their way to another file.
  const Checkpoint checkpoint = Checkpoint::open(f16.path());
  std::vector<HostTensor> widened;
  std::vector<std::pair<std::string, ConstTensorView>> tensors;
  for (const std::string& name : checkpoint.names()) {
    widened.push_back(converted(checkpoint.tensor(name), DType::f32));
    tensors.emplace_back(name, std::as_const(widened.back()).view());
  }
  f32.write("config.json", tiny_model_config({}).dump());
  write_safetensors(f32.path() / "model.safetensors", tensors);
  EXPECT_LT(relative_error(logits_of(half), logits_of(Model::load(engine(), f32.path()))), 1e-6);
}

TEST(ModelTest, KeepsBf16FilesAsTheyAreUnlessAskedOtherwise) {
  const TemporaryFolder folder;
  write_tiny_model(folder.path(), {.tied_embeddings = true, .dtype = DType::bf16});
  const auto narrow = Model::load(engine(), folder.path());
  ModelOptions options;
  options.dtype = DType::f32;
  const auto wide = Model::load(engine(), folder.path(), options);
  EXPECT_EQ(narrow->dtype(), DType::bf16);
  EXPECT_EQ(wide->dtype(), DType::f32);
  EXPECT_LT(narrow->weight_bytes(), wide->weight_bytes());
  // A backend may compute in bf16 beside bf16 weights: some ulps of 2^-8 through three layers.
  const bool computes_in_bf16 =
      engine()->backend()->activation_dtype_beside(DType::bf16) == DType::bf16;
  EXPECT_LT(relative_error(logits_of(narrow), logits_of(wide)), computes_in_bf16 ? 0.03 : 1e-5);
  options.dtype = DType::f16;
  EXPECT_THROW(Model::load(engine(), folder.path(), options), Error);
}

// As a merged adapter leaves them.
TEST(ModelTest, KeepsMixedFilesWide) {
  const TemporaryFolder narrow;
  const TemporaryFolder mixed;
  write_tiny_model(narrow.path(), {.dtype = DType::bf16});
  write_tiny_model(mixed.path(), {.dtype = DType::bf16});
  const Checkpoint checkpoint = Checkpoint::open(narrow.path());
  const std::string changed = "model.layers.1.self_attn.k_proj.weight";
  HostTensor wide = converted(checkpoint.tensor(changed), DType::f32);
  auto* values = static_cast<float*>(wide.view().data);
  for (int64_t i = 0; i < wide.view().count(); ++i) values[i] *= 1.0F + 0x1p-9F;  // lost in bf16
  std::vector<std::pair<std::string, ConstTensorView>> tensors;
  for (const std::string& name : checkpoint.names()) {
    tensors.emplace_back(name,
                         name == changed ? std::as_const(wide).view() : checkpoint.tensor(name));
  }
  write_safetensors(mixed.path() / "model.safetensors", tensors);

  const auto model = Model::load(engine(), mixed.path());
  EXPECT_EQ(model->dtype(), DType::f32);
  ModelOptions options;
  options.dtype = DType::f32;
  EXPECT_EQ(logits_of(model), logits_of(Model::load(engine(), mixed.path(), options)));
  EXPECT_NE(logits_of(model), logits_of(Model::load(engine(), narrow.path(), options)));
  options.dtype = DType::bf16;
  EXPECT_EQ(Model::load(engine(), mixed.path(), options)->dtype(), DType::bf16);
}

TEST(ModelTest, RoundsToBf16WhenAsked) {
  const TemporaryFolder folder;
  write_tiny_model(folder.path(), {});
  ModelOptions options;
  options.dtype = DType::bf16;
  const auto rounded = Model::load(engine(), folder.path(), options);
  EXPECT_EQ(rounded->dtype(), DType::bf16);
  const double error =
      relative_error(logits_of(rounded), logits_of(Model::load(engine(), folder.path())));
  EXPECT_GT(error, 1e-5);
  EXPECT_LT(error, 0.2);  // eight bits of fraction, through two layers
}

// Weights whose pairs lie interleaved, and that are said to, compute as the same ones half-split.
TEST(ModelTest, ForcedPairLayoutPermutesQueriesAndKeys) {
  const TemporaryFolder half_split;
  const TemporaryFolder interleaved;
  const TinyModel shape;
  write_tiny_model(half_split.path(), shape);
  const Checkpoint checkpoint = Checkpoint::open(half_split.path());
  std::vector<HostTensor> permuted;
  permuted.reserve(static_cast<size_t>(2 * shape.n_layers));
  std::vector<std::pair<std::string, ConstTensorView>> tensors;
  for (const std::string& name : checkpoint.names()) {
    ConstTensorView tensor = checkpoint.tensor(name);
    const bool is_query = name.find("q_proj") != std::string::npos;
    if (is_query || name.find("k_proj") != std::string::npos) {
      permuted.push_back(permute_pairs(tensor, is_query ? shape.n_heads : shape.n_kv_heads,
                                       shape.head_dim, PairLayout::half_split,
                                       PairLayout::interleaved));
      tensor = std::as_const(permuted.back()).view();
    }
    tensors.emplace_back(name, tensor);
  }
  interleaved.write("config.json", tiny_model_config(shape).dump());
  write_safetensors(interleaved.path() / "model.safetensors", tensors);

  ModelOptions options;
  options.pair_layout = PairLayout::interleaved;
  const auto wanted = logits_of(Model::load(engine(), half_split.path()));
  EXPECT_LT(relative_error(logits_of(Model::load(engine(), interleaved.path(), options)), wanted),
            1e-6);
  EXPECT_GT(relative_error(logits_of(Model::load(engine(), interleaved.path())), wanted), 1e-2);
}

TEST(ModelTest, TiedEmbeddingsLieInMemoryOnce) {
  const TemporaryFolder tied;
  const TemporaryFolder untied;
  const TinyModel shape{.tied_embeddings = true};
  write_tiny_model(tied.path(), shape);
  write_tiny_model(untied.path(), {});
  const auto a = Model::load(engine(), tied.path());
  const auto b = Model::load(engine(), untied.path());
  const auto table = static_cast<uint64_t>(shape.vocab_size * shape.d_model);
  EXPECT_EQ(b->n_parameters() - a->n_parameters(), table);
  EXPECT_GE(b->weight_bytes() - a->weight_bytes(), table * sizeof(float));
}

TEST(ModelTest, NumbersAreThoseOfTheShape) {
  const TemporaryFolder folder;
  write_tiny_model(folder.path(), {});
  const auto model = Model::load(engine(), folder.path());
  // Embedding and output; per layer q and o, k and v, three of the feed-forward part, two norms;
  // the last norm.
  const uint64_t layer = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 176 * 64 + 2 * 64;
  EXPECT_EQ(model->n_parameters(), 2 * 512 * 64 + 2 * layer + 64);
  EXPECT_EQ(model->kv_bytes_per_token(), 2U * 2 * 2 * 16 * sizeof(float));
  const Json json = model->describe();
  EXPECT_EQ(json.at("n_parameters"), model->n_parameters());
  EXPECT_EQ(json.at("path"), folder.path().string());
  EXPECT_EQ(json.at("sha256"), Checkpoint::open(folder.path()).sha256());
  EXPECT_EQ(json.at("rope"), model->rope()->canonical());
  EXPECT_TRUE(json.at("tokenizer").is_null());
}

TEST(ModelTest, TokenizerComesAlongUnlessLeftAlone) {
  const TemporaryFolder folder;
  write_tiny_model(folder.path(), {.vocab_size = 1024, .with_tokenizer = true});
  ASSERT_NE(Model::load(engine(), folder.path())->tokenizer(), nullptr);
  ModelOptions options;
  options.without_tokenizer = true;
  EXPECT_EQ(Model::load(engine(), folder.path(), options)->tokenizer(), nullptr);
}

TEST(ModelTest, UnusedConfigurationKeysAreLogged) {
  const TemporaryFolder folder;
  TinyModel shape;
  shape.more_config = {{"a_key_nobody_knows", 1}};
  write_tiny_model(folder.path(), shape);
  std::vector<std::string> keys;
  RuntimeOptions options;
  options.module_path = OKAPI_BUILD_LIB "/okapi";
  options.logger = std::make_shared<Logger>(
      [&keys](const LogRecord& record) {
        for (const auto& [key, value] : record.fields) {
          if (key == "key") keys.push_back(value);
        }
      },
      LogLevel::info);
  static_cast<void>(Model::load(RuntimeContext::create(std::move(options)), folder.path()));
  EXPECT_THAT(keys, testing::Contains("a_key_nobody_knows"));
}

TEST(ModelTest, ProgressReachesTheEndAndCancelStops) {
  const TemporaryFolder folder;
  write_tiny_model(folder.path(), {});
  int64_t last = 0;
  int64_t total = 0;
  int n_calls = 0;
  CancelToken cancel;
  ModelOptions options;
  options.cancel = &cancel;
  options.progress = [&](int64_t done, int64_t of) {
    EXPECT_GT(done, last);
    last = done;
    total = of;
    ++n_calls;
  };
  static_cast<void>(Model::load(engine(), folder.path(), options));
  EXPECT_EQ(last, total);
  EXPECT_GT(n_calls, 10);

  options.progress = [&](int64_t, int64_t) { cancel.request(); };
  try {
    static_cast<void>(Model::load(engine(), folder.path(), options));
    FAIL() << "was not cancelled";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::cancelled);
  }
}

TEST(ModelTest, RandomModelsAreTheirSeedAndShape) {
  const auto a = Model::random(engine(), small_config(), 1);
  const auto b = Model::random(engine(), small_config(), 1);
  const auto c = Model::random(engine(), small_config(), 2);
  EXPECT_EQ(logits_of(a), logits_of(b));
  EXPECT_NE(logits_of(a), logits_of(c));
  EXPECT_EQ(a->sha256(), b->sha256());
  EXPECT_NE(a->sha256(), c->sha256());
  EXPECT_EQ(a->tokenizer(), nullptr);
}

TEST(ModelTest, RuntimesWithoutTheirModulesSayWhatWasTried) {
  const TemporaryFolder empty;
  RuntimeOptions options;
  options.module_path = empty.path();
  try {
    static_cast<void>(RuntimeContext::create(std::move(options)));
    FAIL() << "opened a backend that is not there";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::not_found);
    EXPECT_THAT(error.full_message(), testing::HasSubstr(empty.path().string()));
  }
}

}  // namespace
}  // namespace okapi::test
