#include <okapi/model.h>

#include <cstring>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

okapi_model_info info_of(const okapi_model* model) {
  okapi_model_info info = OKAPI_MODEL_INFO_INIT;
  EXPECT_EQ(
      call([&](okapi_error** error) { return okapi_model_get_info(model, &info, error); }).status,
      OKAPI_OK);
  return info;
}

class ModelTest : public testing::Test {
 protected:
  void SetUp() override { write_model(folder_.path()); }

  Outcome try_open(const std::filesystem::path& path,
                   const okapi_model_options* options = nullptr) {
    okapi_model* model = nullptr;
    Outcome outcome = call([&](okapi_error** error) {
      return okapi_model_open(runtime_.get(), path.c_str(), options, &model, error);
    });
    EXPECT_EQ(outcome.status == OKAPI_OK, model != nullptr);
    okapi_model_unref(model);
    return outcome;
  }

  TemporaryFolder folder_;
  RuntimePtr runtime_ = make_runtime();
};

}  // namespace

TEST_F(ModelTest, OpensAFolderAndTellsItsNumbers) {
  const ModelPtr model = open_model(runtime_.get(), folder_.path());
  const okapi_model_info info = info_of(model.get());
  EXPECT_EQ(info.struct_size, OKAPI_STRUCT_SIZE(okapi_model_info, tied_embeddings));
  EXPECT_EQ(info.dtype, OKAPI_DTYPE_F32);
  EXPECT_EQ(info.n_layers, 2);
  EXPECT_EQ(info.d_model, 64);
  EXPECT_EQ(info.d_ff, 176);
  EXPECT_EQ(info.vocab_size, kVocabSize);
  EXPECT_EQ(info.n_heads, 4);
  EXPECT_EQ(info.n_kv_heads, 2);
  EXPECT_EQ(info.head_dim, 16);
  EXPECT_EQ(info.trained_length, kTrainedLength);
  EXPECT_EQ(info.base, 10000.0);
  EXPECT_EQ(info.has_tokenizer, 1);
  EXPECT_EQ(info.tied_embeddings, 0);

  // Two embeddings; per layer q and o [64, 64], k and v [32, 64], three of the MLP, two norms; a
  // norm.
  const uint64_t n_parameters =
      2 * 1024 * 64 + 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 176 * 64 + 2 * 64) + 64;
  EXPECT_EQ(info.n_parameters, n_parameters);
  EXPECT_GE(info.weight_bytes, 4 * n_parameters);
  EXPECT_EQ(info.kv_bytes_per_token, 2U * 2 * 2 * 16 * 4)
      << "keys and values, layers, heads, D, f32";
}

TEST_F(ModelTest, DescribesItself) {
  const ModelPtr model = open_model(runtime_.get(), folder_.path());
  const okapi::Json json =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_model_describe(model.get(), buffer, capacity, needed, error);
      });
  EXPECT_EQ(json["n_layers"], 2);
  EXPECT_EQ(json["path"], folder_.path().string());
  EXPECT_EQ(json["sha256"].get<std::string>().size(), 64U);
  EXPECT_TRUE(json.contains("rope"));
}

TEST_F(ModelTest, RandomWeightsDependOnTheSeedAlone) {
  const std::string config = tiny_config();
  const auto logits = [&](uint64_t seed) {
    const ModelPtr model = create<ModelPtr>([&](okapi_model** out, okapi_error** error) {
      return okapi_model_create_random(runtime_.get(), config.c_str(), seed, nullptr, out, error);
    });
    EXPECT_EQ(info_of(model.get()).has_tokenizer, 0);
    return prefill(make_session(model.get()).get(), some_ids(5));
  };
  EXPECT_EQ(logits(1), logits(1));
  EXPECT_NE(logits(1), logits(2));
}

TEST_F(ModelTest, WeightsMayBeKeptAsBf16) {
  okapi_model_options options = OKAPI_MODEL_OPTIONS_INIT;
  options.dtype = OKAPI_DTYPE_BF16;
  const ModelPtr small = create<ModelPtr>([&](okapi_model** out, okapi_error** error) {
    return okapi_model_open(runtime_.get(), folder_.path().c_str(), &options, out, error);
  });
  const ModelPtr whole = open_model(runtime_.get(), folder_.path());
  EXPECT_EQ(info_of(small.get()).dtype, OKAPI_DTYPE_BF16);
  EXPECT_LT(info_of(small.get()).weight_bytes, info_of(whole.get()).weight_bytes);

  // Eight bits of mantissa: logits of size 1 move by some hundredths, and not by more.
  const double moved = distance(prefill(make_session(small.get()).get(), some_ids(5)),
                                prefill(make_session(whole.get()).get(), some_ids(5)));
  EXPECT_GT(moved, 0);
  EXPECT_LT(moved, 0.2);
}

TEST_F(ModelTest, OptionsReachTheEngine) {
  okapi_model_options options = OKAPI_MODEL_OPTIONS_INIT;
  options.without_tokenizer = 1;
  options.pair_layout = OKAPI_PAIR_LAYOUT_INTERLEAVED;
  const ModelPtr changed = create<ModelPtr>([&](okapi_model** out, okapi_error** error) {
    return okapi_model_open(runtime_.get(), folder_.path().c_str(), &options, out, error);
  });
  EXPECT_EQ(info_of(changed.get()).has_tokenizer, 0);

  const ModelPtr plain = open_model(runtime_.get(), folder_.path());
  EXPECT_GT(distance(prefill(make_session(changed.get()).get(), some_ids(5)),
                     prefill(make_session(plain.get()).get(), some_ids(5))),
            kRounding)
      << "another pair layout is another model";
}

TEST_F(ModelTest, RandomWeightsMayHaveATokenizer) {
  const std::string tokenizer = (folder_.path() / "tokenizer.model").string();
  okapi_model_options options = OKAPI_MODEL_OPTIONS_INIT;
  options.tokenizer_file = tokenizer.c_str();
  const std::string config = tiny_config();
  const ModelPtr model = create<ModelPtr>([&](okapi_model** out, okapi_error** error) {
    return okapi_model_create_random(runtime_.get(), config.c_str(), 1, &options, out, error);
  });
  EXPECT_EQ(info_of(model.get()).has_tokenizer, 1);

  expect_refusal(try_open(folder_.path(), &options), OKAPI_INVALID_ARGUMENT,
                 "options.tokenizer_file");
  options.tokenizer_file = "no/such.model";
  okapi_model* none = nullptr;
  EXPECT_EQ(call([&](okapi_error** error) {
              return okapi_model_create_random(runtime_.get(), config.c_str(), 1, &options, &none,
                                               error);
            }).status,
            OKAPI_NOT_FOUND);
}

TEST_F(ModelTest, AnotherConfigurationFileMayBeNamed) {
  std::filesystem::rename(folder_.path() / "config.json", folder_.path() / "other.json");
  EXPECT_EQ(try_open(folder_.path()).status, OKAPI_NOT_FOUND);
  okapi_model_options options = OKAPI_MODEL_OPTIONS_INIT;
  options.config_file = "other.json";
  EXPECT_EQ(try_open(folder_.path(), &options).status, OKAPI_OK);
  options.config_file = "";
  expect_refusal(try_open(folder_.path(), &options), OKAPI_INVALID_ARGUMENT, "options.config_file");
}

TEST_F(ModelTest, ProgressEndsWithEverythingDone) {
  struct Heard {
    int64_t done = -1;
    int64_t total = 0;
    int n_calls = 0;
  } heard;
  okapi_model_options options = OKAPI_MODEL_OPTIONS_INIT;
  options.progress_user_data = &heard;
  options.progress = [](const okapi_progress* progress, void* user_data) {
    auto* out = static_cast<Heard*>(user_data);
    EXPECT_EQ(progress->struct_size, OKAPI_STRUCT_SIZE(okapi_progress, detail));
    EXPECT_STREQ(progress->stage, "load");
    EXPECT_GE(progress->done, out->done);
    out->done = progress->done;
    out->total = progress->total;
    out->n_calls++;
  };
  EXPECT_EQ(try_open(folder_.path(), &options).status, OKAPI_OK);
  EXPECT_GE(heard.n_calls, 1);
  EXPECT_GT(heard.total, 0);
  EXPECT_EQ(heard.done, heard.total);
}

TEST_F(ModelTest, LoadingCanBeCancelled) {
  const CancelPtr cancel = create<CancelPtr>(
      [](okapi_cancel** out, okapi_error** error) { return okapi_cancel_create(out, error); });
  okapi_cancel_request(cancel.get());
  okapi_model_options options = OKAPI_MODEL_OPTIONS_INIT;
  options.cancel = cancel.get();
  EXPECT_EQ(try_open(folder_.path(), &options).status, OKAPI_CANCELLED);
  okapi_cancel_reset(cancel.get());
  EXPECT_EQ(try_open(folder_.path(), &options).status, OKAPI_OK);
}

TEST_F(ModelTest, WrongFilesNameFileAndField) {
  EXPECT_EQ(try_open(folder_.path() / "missing").status, OKAPI_NOT_FOUND);

  const TemporaryFolder damaged;
  write_model(damaged.path());
  damaged.write("model.safetensors", "\x05");
  const Outcome outcome = try_open(damaged.path());
  EXPECT_EQ(outcome.status, OKAPI_DATA_LOSS) << outcome.message();
  EXPECT_THAT(okapi_error_file(outcome.error.get()), testing::HasSubstr("model.safetensors"));

  const TemporaryFolder mistyped;
  write_model(mistyped.path());
  okapi::Json config = okapi::Json::parse(tiny_config());
  config["num_key_value_heads"] = 3;
  mistyped.write("config.json", config.dump());
  const Outcome refused = try_open(mistyped.path());
  EXPECT_EQ(refused.status, OKAPI_INVALID_ARGUMENT);
  EXPECT_THAT(refused.field(), testing::HasSubstr("num_key_value_heads"));
  EXPECT_THAT(okapi_error_file(refused.error.get()), testing::HasSubstr("config.json"));

  config = okapi::Json::parse(tiny_config());
  config["architectures"] = {"MambaForCausalLM"};
  config["model_type"] = "mamba";
  mistyped.write("config.json", config.dump());
  EXPECT_EQ(try_open(mistyped.path()).status, OKAPI_UNIMPLEMENTED);
}

TEST_F(ModelTest, BadOptionsAreNamed) {
  okapi_model_options options = OKAPI_MODEL_OPTIONS_INIT;
  options.dtype = 77;
  expect_refusal(try_open(folder_.path(), &options), OKAPI_INVALID_ARGUMENT, "options.dtype");
  options.dtype = OKAPI_DTYPE_F16;
  expect_refusal(try_open(folder_.path(), &options), OKAPI_UNIMPLEMENTED, "options.dtype");

  options = OKAPI_MODEL_OPTIONS_INIT;
  options.pair_layout = 3;
  expect_refusal(try_open(folder_.path(), &options), OKAPI_INVALID_ARGUMENT, "options.pair_layout");

  options = OKAPI_MODEL_OPTIONS_INIT;
  options.without_tokenizer = 2;
  expect_refusal(try_open(folder_.path(), &options), OKAPI_INVALID_ARGUMENT,
                 "options.without_tokenizer");

  options = OKAPI_MODEL_OPTIONS_INIT;
  options.reserved[2] = 1;
  expect_refusal(try_open(folder_.path(), &options), OKAPI_INVALID_ARGUMENT, "options.reserved");

  options = OKAPI_MODEL_OPTIONS_INIT;
  options.struct_size -= 1;
  expect_refusal(try_open(folder_.path(), &options), OKAPI_INVALID_ARGUMENT, "options.struct_size");
}

TEST_F(ModelTest, InfoIsFilledUpToTheCallersSize) {
  const ModelPtr model = make_random_model(runtime_.get());
  okapi_model_info info;
  std::memset(&info, 0x7F, sizeof info);
  info.struct_size = OKAPI_STRUCT_SIZE(okapi_model_info, n_layers);
  EXPECT_EQ(call([&](okapi_error** error) {
              return okapi_model_get_info(model.get(), &info, error);
            }).status,
            OKAPI_OK);
  EXPECT_EQ(info.n_layers, 2);
  EXPECT_EQ(info.d_model, 0x7F7F7F7F7F7F7F7F) << "lies past the caller's struct";

  info.struct_size = 0;
  expect_refusal(
      call([&](okapi_error** error) { return okapi_model_get_info(model.get(), &info, error); }),
      OKAPI_INVALID_ARGUMENT, "info.struct_size");
}

TEST_F(ModelTest, ConfigurationTextIsChecked) {
  const auto try_random = [&](const char* config) {
    okapi_model* model = nullptr;
    Outcome outcome = call([&](okapi_error** error) {
      return okapi_model_create_random(runtime_.get(), config, 1, nullptr, &model, error);
    });
    EXPECT_EQ(model, nullptr);
    return outcome.status;
  };
  EXPECT_NE(try_random("{"), OKAPI_OK);
  EXPECT_EQ(try_random("{}"), OKAPI_INVALID_ARGUMENT);
}
