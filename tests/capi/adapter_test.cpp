#include <okapi/adapter.h>

#include <cstring>
#include <filesystem>

#include "runtime/base/file.h"
#include "runtime/model/safetensors.h"
#include "tests/capi/fixture.h"
#include "tests/support/tiny_model.h"

using namespace okapi::test;

namespace {

std::vector<float> score_all(okapi_session* session, const std::vector<int32_t>& ids,
                             int64_t vocab_size) {
  std::vector<float> logits(ids.size() * static_cast<size_t>(vocab_size));
  const Outcome outcome = call([&](okapi_error** error) {
    return okapi_session_score(session, ids.data(), static_cast<int64_t>(ids.size()), nullptr,
                               logits.data(), error);
  });
  EXPECT_EQ(outcome.status, OKAPI_OK) << outcome.message();
  return logits;
}

Outcome merge(const std::filesystem::path& base, const std::filesystem::path& adapter,
              const std::filesystem::path& out, const okapi_merge_options* options = nullptr) {
  return call([&](okapi_error** error) {
    return okapi_adapter_merge(base.c_str(), adapter.c_str(), out.c_str(), options, error);
  });
}

okapi::Json describe(const AdapterPtr& adapter) {
  return json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
    return okapi_adapter_describe(adapter.get(), buffer, capacity, needed, error);
  });
}

/// A model on disk, opened, and an adapter for it.
class AdapterTest : public testing::Test {
 protected:
  AdapterTest() {
    std::filesystem::create_directory(base());
    write_model(base());
    write_adapter(base(), lora());
    model_ = open_model(runtime_.get(), base());
    adapter_ = open_adapter(model_.get(), lora());
  }

  std::filesystem::path base() const { return folder_.path() / "base"; }
  std::filesystem::path lora() const { return folder_.path() / "lora"; }
  std::filesystem::path out() const { return folder_.path() / "out"; }

  SessionPtr session_with(const okapi_adapter* adapter) {
    okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
    options.adapter = adapter;
    return make_session(model_.get(), &options);
  }

  Outcome open_fails(const std::filesystem::path& folder) {
    okapi_adapter* adapter = nullptr;
    Outcome outcome = call([&](okapi_error** error) {
      return okapi_adapter_open(model_.get(), folder.c_str(), &adapter, error);
    });
    EXPECT_EQ(adapter, nullptr);
    return outcome;
  }

  TemporaryFolder folder_;
  RuntimePtr runtime_ = make_runtime();
  ModelPtr model_;
  AdapterPtr adapter_;
};

/// The same tasks put to models with and without adapters, kept in one file.
class AdapterEvaluationTest : public AdapterTest {
 protected:
  AdapterEvaluationTest() {
    results_ = create<ResultsPtr>([&](okapi_results** out, okapi_error** error) {
      return okapi_results_open(runtime_.get(), (folder_.path() / "results.db").c_str(), nullptr,
                                out, error);
    });
  }

  okapi::Json evaluate(okapi_model* model, const okapi_adapter* adapter, bool keep = false) {
    const TokenizerPtr tokenizer =
        create<TokenizerPtr>([&](okapi_tokenizer** out, okapi_error** error) {
          return okapi_model_get_tokenizer(model, out, error);
        });
    const TaskPtr task = create<TaskPtr>([&](okapi_task** out, okapi_error** error) {
      return okapi_task_open(runtime_.get(), "lines",
                             R"({"style": "compact", "length": 60, "n_samples": 4})", 1,
                             tokenizer.get(), nullptr, out, error);
    });
    okapi_evaluation_options options = OKAPI_EVALUATION_OPTIONS_INIT;
    options.adapter = adapter;
    options.results = keep ? results_.get() : nullptr;
    const EvaluationPtr evaluation =
        create<EvaluationPtr>([&](okapi_evaluation** out, okapi_error** error) {
          return okapi_evaluation_create(task.get(), model, &options, out, error);
        });
    const okapi::Json before = report(evaluation);
    n_taken_over_ = before["n_done"];
    EXPECT_EQ(okapi_evaluation_run(evaluation.get(), nullptr, nullptr), OKAPI_OK);
    return report(evaluation);
  }

  static okapi::Json report(const EvaluationPtr& evaluation) {
    return json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
      return okapi_evaluation_report(evaluation.get(), buffer, capacity, needed, error);
    });
  }

  static std::vector<okapi::Json> outputs(const okapi::Json& report) {
    std::vector<okapi::Json> all;
    for (const okapi::Json& sample : report["samples"]) all.push_back(sample["output_ids"]);
    return all;
  }

  ResultsPtr results_;
  int64_t n_taken_over_ = -1;
};

}  // namespace

// peft's own logits, before and after five steps of training (tests/data/training/README.md). Both
// are f32 passes that add in different orders; the other adapter's logits differ by 1e-2 and more.
TEST_F(AdapterTest, BesideASessionItGivesPeftsLogits) {
  const std::filesystem::path data = OKAPI_TEST_DATA;
  const auto wanted = okapi::SafetensorsFile::open(data / "training/lora.safetensors");
  const auto golden = okapi::SafetensorsFile::open(data / "golden/tiny-gqa/expected.safetensors");
  constexpr size_t kVocab = 512;
  const auto* const all_ids = static_cast<const int64_t*>(golden.tensor("input_ids").data);
  const ModelPtr model = open_model(runtime_.get(), data / "golden/tiny-gqa");
  for (const auto& [folder, name] : {std::pair("training/lora-initial", "logits.initial"),
                                     std::pair("training/lora-final", "logits.final")}) {
    const AdapterPtr adapter = open_adapter(model.get(), data / folder);
    okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
    options.adapter = adapter.get();
    const auto* const logits = static_cast<const float*>(wanted.tensor(name).data);
    for (size_t row = 0; row < 2; ++row) {
      const std::vector<int32_t> ids(all_ids + row * 48, all_ids + (row + 1) * 48);
      const float* const first = logits + row * 48 * kVocab;
      const SessionPtr session = make_session(model.get(), &options);
      EXPECT_LT(distance(score_all(session.get(), ids, kVocab), {first, first + 48 * kVocab}),
                kRounding)
          << folder;
    }
  }
}

// (W + s B A) x against W x + s B (A x): the same sums in another order, and W + s B A rounded to
// f32, which moves logits of size 1 by some 1e-6.
TEST_F(AdapterTest, BesideASessionItIsTheMergedModel) {
  ASSERT_EQ(merge(base(), lora(), out()).status, OKAPI_OK);
  const ModelPtr merged = open_model(runtime_.get(), out());
  const std::vector<int32_t> ids = some_ids(40);
  const auto wanted = score_all(make_session(merged.get()).get(), ids, kVocabSize);
  EXPECT_LT(distance(score_all(session_with(adapter_.get()).get(), ids, kVocabSize), wanted),
            kRounding);
  EXPECT_GT(distance(score_all(make_session(model_.get()).get(), ids, kVocabSize), wanted), 0.1);

  // Token by token, as a generation does it.
  const SessionPtr session = session_with(adapter_.get());
  const float* logits = nullptr;
  for (const int32_t id : ids) {
    ASSERT_EQ(okapi_session_decode(session.get(), id, &logits, nullptr), OKAPI_OK);
  }
  EXPECT_LT(distance({logits, logits + kVocabSize}, {wanted.end() - kVocabSize, wanted.end()}),
            kRounding);

  okapi_generate_options options = OKAPI_GENERATE_OPTIONS_INIT;
  options.max_tokens = 8;
  options.ignore_eos = 1;
  const auto generated = [&](okapi_session* from) {
    std::vector<int32_t> out(8);
    size_t n = 0;
    EXPECT_EQ(
        okapi_session_generate(from, ids.data(), 40, &options, out.data(), 8, &n, nullptr, nullptr),
        OKAPI_OK);
    return out;
  };
  EXPECT_EQ(generated(session_with(adapter_.get()).get()),
            generated(make_session(merged.get()).get()));
}

TEST_F(AdapterTest, DescribesItself) {
  const okapi::Json json = describe(adapter_);
  EXPECT_EQ(json["path"], lora().string());
  EXPECT_EQ(json["rank"], 4);
  EXPECT_EQ(json["alpha"], 8);
  EXPECT_EQ(json["scale"], 2);
  EXPECT_EQ(json["targets"], (std::vector<std::string>{"q_proj", "v_proj", "o_proj", "down_proj"}));
  // Two layers of d_model 64, d_ff 176, two heads of 16 for keys and values: inputs plus outputs
  // times the rank.
  const int64_t n = 2 * 4 * ((64 + 64) + (64 + 32) + (64 + 64) + (176 + 64));
  EXPECT_EQ(json["n_parameters"], n);
  EXPECT_EQ(json["bytes"], 4 * n);
  const std::string session =
      text_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_session_describe(session_with(adapter_.get()).get(), buffer, capacity, needed,
                                      error);
      });
  EXPECT_EQ(okapi::Json::parse(session)["adapter"], json);
}

TEST_F(AdapterTest, SavedAndOpenedAgainItIsTheSame) {
  ASSERT_EQ(okapi_adapter_save(adapter_.get(), out().c_str(), nullptr), OKAPI_OK);
  EXPECT_EQ(describe(open_adapter(model_.get(), out()))["sha256"], describe(adapter_)["sha256"]);
  for (const char* file : {"adapter_config.json", "adapter_model.safetensors"}) {
    EXPECT_EQ(okapi::read_file(out() / file, 1 << 24), okapi::read_file(lora() / file, 1 << 24));
  }
}

TEST_F(AdapterTest, ASavedSessionComesBackUnderItsOwnAdapterAlone) {
  const std::string path = (folder_.path() / "session").string();
  const SessionPtr session = session_with(adapter_.get());
  prefill(session.get(), some_ids(9));
  ASSERT_EQ(okapi_session_save(session.get(), path.c_str(), nullptr), OKAPI_OK);
  const std::vector<float> wanted = prefill(session.get(), {42});
  const auto restore = [&](const okapi_adapter* adapter) {
    okapi_restore_options options = OKAPI_RESTORE_OPTIONS_INIT;
    options.adapter = adapter;
    okapi_session* made = nullptr;
    Outcome outcome = call([&](okapi_error** error) {
      return okapi_session_restore_with(model_.get(), path.c_str(), &options, &made, error);
    });
    const SessionPtr owned(made);
    if (outcome.status == OKAPI_OK) {
      EXPECT_EQ(distance(prefill(made, {42}), wanted), 0);
    }
    return outcome;
  };
  EXPECT_EQ(restore(adapter_.get()).status, OKAPI_OK);

  write_adapter(base(), folder_.path() / "other", 2);
  const AdapterPtr other = open_adapter(model_.get(), folder_.path() / "other");
  expect_refusal(restore(other.get()), OKAPI_FAILED_PRECONDITION, "adapter");
  expect_refusal(restore(nullptr), OKAPI_FAILED_PRECONDITION, "adapter");
  okapi_session* made = nullptr;
  expect_refusal(call([&](okapi_error** error) {
                   return okapi_session_restore(model_.get(), path.c_str(), &made, error);
                 }),
                 OKAPI_FAILED_PRECONDITION, "adapter");

  ASSERT_EQ(okapi_session_save(session_with(nullptr).get(), path.c_str(), nullptr), OKAPI_OK);
  expect_refusal(restore(adapter_.get()), OKAPI_FAILED_PRECONDITION, "adapter");
}

TEST_F(AdapterTest, AnotherModelsAdapterIsRefused) {
  const ModelPtr other = open_model(runtime_.get(), base());
  okapi_session_options options = OKAPI_SESSION_OPTIONS_INIT;
  options.adapter = adapter_.get();
  okapi_session* session = nullptr;
  expect_refusal(call([&](okapi_error** error) {
                   return okapi_session_create(other.get(), &options, &session, error);
                 }),
                 OKAPI_INVALID_ARGUMENT, "adapter");
  EXPECT_EQ(session, nullptr);

  // One of another shape does not even open.
  const ModelPtr larger = open_model(runtime_.get(), OKAPI_SOURCE_DIR "/models/savanna-5m");
  okapi_adapter* adapter = nullptr;
  const Outcome outcome = call([&](okapi_error** error) {
    return okapi_adapter_open(larger.get(), lora().c_str(), &adapter, error);
  });
  EXPECT_EQ(outcome.status, OKAPI_INVALID_ARGUMENT);
  EXPECT_THAT(outcome.message(), testing::HasSubstr("wanted shape [4, 256], found [4, 64]"));
}

TEST_F(AdapterTest, WhatIsWrongWithAFolderIsNamed) {
  expect_refusal(open_fails(folder_.path() / "none"), OKAPI_NOT_FOUND, "");
  const std::string config = okapi::read_file(lora() / "adapter_config.json", 1 << 20);
  const auto with = [&](const char* key, const okapi::Json& value) {
    okapi::Json json = okapi::Json::parse(config);
    json[key] = value;
    okapi::write_file_atomically(lora() / "adapter_config.json", json.dump());
    return open_fails(lora());
  };
  expect_refusal(with("use_dora", true), OKAPI_UNIMPLEMENTED, "use_dora");
  expect_refusal(with("init_lora_weights", "pissa"), OKAPI_UNIMPLEMENTED, "init_lora_weights");
  expect_refusal(with("use_something_new", true), OKAPI_INVALID_ARGUMENT, "use_something_new");
  expect_refusal(with("peft_type", "IA3"), OKAPI_UNIMPLEMENTED, "peft_type");
}

TEST_F(AdapterTest, AMergeKeepsWhatItDoesNotChange) {
  okapi_merge_options options = OKAPI_MERGE_OPTIONS_INIT;
  options.dtype = OKAPI_DTYPE_BF16;
  int64_t n_done = 0;
  options.progress_user_data = &n_done;
  options.progress = [](const okapi_progress* progress, void* user_data) {
    EXPECT_STREQ(progress->stage, "merge");
    *static_cast<int64_t*>(user_data) = progress->done;
  };
  ASSERT_EQ(merge(base(), lora(), out(), &options).status, OKAPI_OK);
  const auto before = okapi::SafetensorsFile::open(base() / "model.safetensors");
  const auto after = okapi::SafetensorsFile::open(out() / "model.safetensors");
  ASSERT_EQ(after.names(), before.names());
  EXPECT_EQ(n_done, static_cast<int64_t>(before.names().size()));
  for (const std::string& name : before.names()) {
    const okapi::ConstTensorView was = before.tensor(name);
    const okapi::ConstTensorView is = after.tensor(name);
    const bool has_matrices =
        name.find("q_proj") != std::string::npos || name.find("v_proj") != std::string::npos ||
        name.find("o_proj") != std::string::npos || name.find("down_proj") != std::string::npos;
    EXPECT_EQ(is.dtype, has_matrices ? okapi::DType::bf16 : okapi::DType::f32) << name;
    if (has_matrices) continue;
    EXPECT_EQ(std::memcmp(is.data, was.data, static_cast<size_t>(was.count()) * sizeof(float)), 0);
  }
  EXPECT_EQ(okapi::read_file(out() / "tokenizer.model", 1 << 24),
            okapi::read_file(base() / "tokenizer.model", 1 << 24));
  okapi::Json config = okapi::parse_json_file(base() / "config.json", "test");
  config["torch_dtype"] = "float32";  // some weights are; bfloat16 would not hold them
  EXPECT_EQ(okapi::parse_json_file(out() / "config.json", "test"), config);
}

TEST_F(AdapterTest, AMergedConfigurationNamesTheDtypeOfTheWeights) {
  const std::filesystem::path narrow = folder_.path() / "narrow";
  std::filesystem::create_directory(narrow);
  TinyModel model;
  model.dtype = okapi::DType::bf16;
  model.vocab_size = kVocabSize;
  // transformers 5 writes "dtype"; both spellings must not contradict each other.
  model.more_config = {{"torch_dtype", "bfloat16"}, {"dtype", "bfloat16"}};
  write_tiny_model(narrow, model);
  const auto merged_config = [&](int32_t dtype) {
    okapi_merge_options options = OKAPI_MERGE_OPTIONS_INIT;
    options.dtype = dtype;
    const Outcome outcome = merge(narrow, lora(), out(), &options);
    EXPECT_EQ(outcome.status, OKAPI_OK) << outcome.message();
    return okapi::parse_json_file(out() / "config.json", "test");
  };
  okapi::Json wanted = okapi::parse_json_file(narrow / "config.json", "test");
  wanted.erase("dtype");
  EXPECT_EQ(merged_config(0), wanted);
  wanted["torch_dtype"] = "float32";
  EXPECT_EQ(merged_config(OKAPI_DTYPE_F32), wanted);
  EXPECT_EQ(merged_config(OKAPI_DTYPE_F16), wanted);  // beside bf16, which f16 does not hold
}

// f16 ends at 65504. The base has it all in f32, where nothing is out of range.
TEST_F(AdapterTest, AWeightThatDoesNotFitIsRefusedByName) {
  const std::string name = "model.layers.1.self_attn.v_proj.weight";
  std::string bytes = okapi::read_file(base() / "model.safetensors", 1 << 24);
  {
    const auto file = okapi::SafetensorsFile::open(base() / "model.safetensors");
    const float large = 70000;
    const auto at = static_cast<const std::byte*>(file.tensor(name).data) - file.bytes().data();
    std::memcpy(bytes.data() + at, &large, sizeof large);
  }
  okapi::write_file_atomically(base() / "model.safetensors", bytes);
  EXPECT_EQ(merge(base(), lora(), out()).status, OKAPI_OK);
  std::filesystem::remove_all(out());
  okapi_merge_options options = OKAPI_MERGE_OPTIONS_INIT;
  options.dtype = OKAPI_DTYPE_F16;
  const Outcome outcome = merge(base(), lora(), out(), &options);
  expect_refusal(outcome, OKAPI_OUT_OF_RANGE, name.c_str());
  EXPECT_THAT(outcome.message(), testing::HasSubstr("does not fit F16"));
  EXPECT_TRUE(std::filesystem::is_empty(out()));
}

TEST_F(AdapterTest, AMergeMayNotWriteOverWhatItReadsAndCanBeCancelled) {
  expect_refusal(merge(base(), lora(), base()), OKAPI_INVALID_ARGUMENT, "out");
  expect_refusal(merge(base(), lora(), base() / "."), OKAPI_INVALID_ARGUMENT, "out");
  expect_refusal(merge(base(), lora(), lora()), OKAPI_INVALID_ARGUMENT, "out");

  const CancelPtr cancel = create<CancelPtr>(
      [](okapi_cancel** out, okapi_error** error) { return okapi_cancel_create(out, error); });
  okapi_merge_options options = OKAPI_MERGE_OPTIONS_INIT;
  options.cancel = cancel.get();
  okapi_cancel_request(cancel.get());
  EXPECT_EQ(merge(base(), lora(), out(), &options).status, OKAPI_CANCELLED);
  EXPECT_TRUE(std::filesystem::is_empty(out()));

  options = OKAPI_MERGE_OPTIONS_INIT;
  options.dtype = 9;
  expect_refusal(merge(base(), lora(), out(), &options), OKAPI_INVALID_ARGUMENT, "options.dtype");
}

TEST_F(AdapterEvaluationTest, WithItEqualsTheMergedModels) {
  ASSERT_EQ(merge(base(), lora(), out()).status, OKAPI_OK);
  const ModelPtr merged = open_model(runtime_.get(), out());
  const auto with = outputs(evaluate(model_.get(), adapter_.get()));
  EXPECT_EQ(with, outputs(evaluate(merged.get(), nullptr)));
  EXPECT_NE(with, outputs(evaluate(model_.get(), nullptr)));
}

TEST_F(AdapterEvaluationTest, EachAdapterIsARunOfItsOwn) {
  const okapi::Json without = evaluate(model_.get(), nullptr, true);
  EXPECT_FALSE(without["run"]["identity"].contains("adapter_sha256"));
  EXPECT_FALSE(without["run"]["info"].contains("adapter"));

  const okapi::Json with = evaluate(model_.get(), adapter_.get(), true);
  EXPECT_EQ(n_taken_over_, 0);
  EXPECT_EQ(with["run"]["identity"]["adapter_sha256"], describe(adapter_)["sha256"]);
  EXPECT_EQ(with["run"]["info"]["adapter"]["path"], lora().string());
  EXPECT_NE(with["run"]["sha256"], without["run"]["sha256"]);

  write_adapter(base(), folder_.path() / "other", 2);
  const AdapterPtr other = open_adapter(model_.get(), folder_.path() / "other");
  evaluate(model_.get(), other.get(), true);
  EXPECT_EQ(n_taken_over_, 0);

  // The same matrices from another folder are the same run.
  ASSERT_EQ(okapi_adapter_save(adapter_.get(), out().c_str(), nullptr), OKAPI_OK);
  const AdapterPtr copy = open_adapter(model_.get(), out());
  EXPECT_EQ(evaluate(model_.get(), copy.get(), true)["samples"], with["samples"]);
  EXPECT_EQ(n_taken_over_, 4);

  const okapi::Json summary =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_results_summary(results_.get(), buffer, capacity, needed, error);
      });
  ASSERT_EQ(summary.size(), 3U);
  EXPECT_EQ(summary[1]["identity"]["adapter_sha256"], describe(adapter_)["sha256"]);
  EXPECT_EQ(summary[1]["info"]["adapter"]["path"], lora().string());
}

TEST_F(AdapterEvaluationTest, AnotherModelsAdapterIsRefusedBeforeAnythingIsKept) {
  const ModelPtr other = open_model(runtime_.get(), base());
  const TokenizerPtr tokenizer =
      create<TokenizerPtr>([&](okapi_tokenizer** out, okapi_error** error) {
        return okapi_model_get_tokenizer(other.get(), out, error);
      });
  const TaskPtr task = create<TaskPtr>([&](okapi_task** out, okapi_error** error) {
    return okapi_task_open(runtime_.get(), "lines", R"({"n_samples": 1, "length": 600})", 1,
                           tokenizer.get(), nullptr, out, error);
  });
  okapi_evaluation_options options = OKAPI_EVALUATION_OPTIONS_INIT;
  options.adapter = adapter_.get();
  options.results = results_.get();
  okapi_evaluation* evaluation = nullptr;
  expect_refusal(call([&](okapi_error** error) {
                   return okapi_evaluation_create(task.get(), other.get(), &options, &evaluation,
                                                  error);
                 }),
                 OKAPI_INVALID_ARGUMENT, "adapter");
  EXPECT_EQ(json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
              return okapi_results_summary(results_.get(), buffer, capacity, needed, error);
            }),
            okapi::Json::array());
}
