#include <okapi/delta.h>

#include <cstring>

#include "runtime/model/checkpoint.h"
#include "tests/capi/fixture.h"
#include "tests/support/tiny_model.h"

using namespace okapi::test;

namespace {

/// A base, a tuned model a little away from it, both bf16 as published ones are.
class DeltaTest : public testing::Test {
 protected:
  DeltaTest() {
    for (const auto& folder : {base(), tuned()}) std::filesystem::create_directory(folder);
    write_bf16(base(), "default");
    write_bf16(tuned(), "linear");
    tune();
  }

  static void write_bf16(const std::filesystem::path& folder, const char* rope_type) {
    TinyModel model;
    model.n_layers = 1;
    model.dtype = okapi::DType::bf16;
    model.with_tokenizer = true;
    model.vocab_size = kVocabSize;
    model.rope_parameters = {{"rope_type", rope_type}, {"rope_theta", 10000.0}};
    if (std::strcmp(rope_type, "linear") == 0) model.rope_parameters["factor"] = 4.0;
    write_tiny_model(folder, model);
  }

  /// Moves each weight by a few of its last places, up and down: less than a 16th of it. Those
  /// below 2^-10 stay, as f16 has fewer digits for differences so small.
  void tune() const {
    const okapi::Checkpoint from = okapi::Checkpoint::open(base());
    std::map<std::string, std::vector<uint16_t>> values;
    std::vector<std::pair<std::string, okapi::ConstTensorView>> tensors;
    for (const std::string& name : from.names()) {
      const okapi::ConstTensorView view = from.tensor(name);
      const auto* const data = static_cast<const uint16_t*>(view.data);
      std::vector<uint16_t>& moved = values[name];
      moved.assign(data, data + view.count());
      for (size_t i = 0; i < moved.size(); ++i) {
        constexpr uint16_t kSmallest = 0x3A80;  // 2^-10
        if ((moved[i] & 0x7FFF) < kSmallest) continue;
        moved[i] = static_cast<uint16_t>(moved[i] + static_cast<int>(i % 15) - 7);
      }
      okapi::ConstTensorView copy = view;
      copy.data = moved.data();
      tensors.emplace_back(name, copy);
    }
    okapi::write_safetensors(tuned() / "model.safetensors", tensors, {{"format", "pt"}});
  }

  std::filesystem::path base() const { return folder_.path() / "base"; }
  std::filesystem::path tuned() const { return folder_.path() / "tuned"; }
  std::filesystem::path delta() const { return folder_.path() / "delta"; }
  std::filesystem::path out() const { return folder_.path() / "out"; }

  Outcome make(const okapi_delta_options* options = nullptr) {
    return call([&](okapi_error** error) {
      return okapi_delta_make(base().c_str(), tuned().c_str(), delta().c_str(), options, error);
    });
  }
  Outcome apply(const okapi_delta_options* options = nullptr) {
    return call([&](okapi_error** error) {
      return okapi_delta_apply(base().c_str(), delta().c_str(), out().c_str(), options, error);
    });
  }

  TemporaryFolder folder_;
};

}  // namespace

// A difference of less than a 16th of a bf16 weight, rounded to f16 (11 bits), is off by less than
// 2^-16 of the weight; bf16 tells 2^-8 apart. So the sum rounds to the very weight.
TEST_F(DeltaTest, AppliedToItsBaseItGivesTheTunedModelBack) {
  ASSERT_EQ(make().status, OKAPI_OK);
  ASSERT_EQ(apply().status, OKAPI_OK);
  const okapi::Checkpoint wanted = okapi::Checkpoint::open(tuned());
  const okapi::Checkpoint found = okapi::Checkpoint::open(out());
  const okapi::Checkpoint from = okapi::Checkpoint::open(base());
  ASSERT_EQ(found.names(), wanted.names());
  for (const std::string& name : wanted.names()) {
    const okapi::ConstTensorView a = found.tensor(name);
    const okapi::ConstTensorView b = wanted.tensor(name);
    ASSERT_EQ(a.dtype, okapi::DType::bf16);
    const auto n_bytes = static_cast<size_t>(a.count()) * 2;
    EXPECT_EQ(std::memcmp(a.data, b.data, n_bytes), 0) << name;
    EXPECT_NE(std::memcmp(from.tensor(name).data, b.data, n_bytes), 0) << name;
  }
  EXPECT_EQ(found.config().rope_spec, "linear:scale=4");

  const RuntimePtr runtime = make_runtime();
  const std::vector<int32_t> ids = some_ids(20);
  EXPECT_EQ(distance(prefill(make_session(open_model(runtime.get(), out()).get()).get(), ids),
                     prefill(make_session(open_model(runtime.get(), tuned()).get()).get(), ids)),
            0);
}

TEST_F(DeltaTest, ACheckSaysWhatItIs) {
  okapi_delta_options options = OKAPI_DELTA_OPTIONS_INIT;
  options.dtype = OKAPI_DTYPE_BF16;
  ASSERT_EQ(make(&options).status, OKAPI_OK);
  const okapi::Json json =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_delta_check(base().c_str(), delta().c_str(), nullptr, buffer, capacity, needed,
                                 error);
      });
  EXPECT_EQ(json["base_sha256"], okapi::Checkpoint::open(base()).sha256());
  EXPECT_EQ(json["tuned_sha256"], okapi::Checkpoint::open(tuned()).sha256());
  EXPECT_EQ(json["rope"], "linear:scale=4");
  EXPECT_EQ(json["dtype"], "BF16");
}

TEST_F(DeltaTest, AnotherBaseIsRefusedByName) {
  ASSERT_EQ(make().status, OKAPI_OK);
  const std::string here = okapi::Checkpoint::open(tuned()).sha256();
  const std::string wanted = okapi::Checkpoint::open(base()).sha256();
  const Outcome checked = call([&](okapi_error** error) {
    return okapi_delta_check(tuned().c_str(), delta().c_str(), nullptr, nullptr, 0, nullptr, error);
  });
  const Outcome applied = call([&](okapi_error** error) {
    return okapi_delta_apply(tuned().c_str(), delta().c_str(), out().c_str(), nullptr, error);
  });
  for (const Outcome* outcome : {&checked, &applied}) {
    expect_refusal(*outcome, OKAPI_FAILED_PRECONDITION, "base_sha256");
    EXPECT_THAT(outcome->message(),
                testing::AllOf(testing::HasSubstr(here), testing::HasSubstr(wanted)));
    EXPECT_EQ(std::string(okapi_error_file(outcome->error.get())), tuned().string());
  }
  EXPECT_FALSE(std::filesystem::exists(out()));
}

TEST_F(DeltaTest, ProgressCountsTensorsOrBytes) {
  struct Heard {
    std::string stage;
    int64_t done = 0;
    int64_t total = 0;
  } heard;
  okapi_delta_options options = OKAPI_DELTA_OPTIONS_INIT;
  options.progress_user_data = &heard;
  options.progress = [](const okapi_progress* progress, void* user_data) {
    *static_cast<Heard*>(user_data) = {progress->stage, progress->done, progress->total};
  };
  const auto n_tensors = static_cast<int64_t>(okapi::Checkpoint::open(base()).names().size());
  ASSERT_EQ(make(&options).status, OKAPI_OK);
  EXPECT_EQ(heard.stage, "delta");
  EXPECT_EQ(heard.done, n_tensors);
  EXPECT_EQ(heard.total, n_tensors);
  ASSERT_EQ(apply(&options).status, OKAPI_OK);
  EXPECT_EQ(heard.stage, "apply");
  EXPECT_EQ(heard.done, n_tensors);
  ASSERT_EQ(
      okapi_delta_check(base().c_str(), delta().c_str(), &options, nullptr, 0, nullptr, nullptr),
      OKAPI_OK);
  EXPECT_EQ(heard.stage, "check");
  const auto n_bytes =
      static_cast<int64_t>(std::filesystem::file_size(base() / "model.safetensors"));
  EXPECT_EQ(heard.done, n_bytes);
  EXPECT_EQ(heard.total, n_bytes);
}

TEST_F(DeltaTest, EachCanBeCancelledAndLeavesNoHalfFile) {
  ASSERT_EQ(make().status, OKAPI_OK);
  const CancelPtr cancel = create<CancelPtr>(
      [](okapi_cancel** out, okapi_error** error) { return okapi_cancel_create(out, error); });
  okapi_delta_options options = OKAPI_DELTA_OPTIONS_INIT;
  options.cancel = cancel.get();
  okapi_cancel_request(cancel.get());
  EXPECT_EQ(apply(&options).status, OKAPI_CANCELLED);
  EXPECT_FALSE(std::filesystem::exists(out() / "model.safetensors"));
  EXPECT_EQ(
      okapi_delta_check(base().c_str(), delta().c_str(), &options, nullptr, 0, nullptr, nullptr),
      OKAPI_CANCELLED);
  std::filesystem::remove_all(delta());
  EXPECT_EQ(make(&options).status, OKAPI_CANCELLED);
  EXPECT_TRUE(std::filesystem::is_empty(delta()));
}

TEST_F(DeltaTest, BadArgumentsAreNamed) {
  const auto made_to = [&](const std::filesystem::path& to) {
    return call([&](okapi_error** error) {
      return okapi_delta_make(base().c_str(), tuned().c_str(), to.c_str(), nullptr, error);
    });
  };
  expect_refusal(made_to(base()), OKAPI_INVALID_ARGUMENT, "delta");
  expect_refusal(made_to(tuned()), OKAPI_INVALID_ARGUMENT, "delta");
  ASSERT_EQ(make().status, OKAPI_OK);
  expect_refusal(call([&](okapi_error** error) {
                   return okapi_delta_apply(base().c_str(), delta().c_str(), delta().c_str(),
                                            nullptr, error);
                 }),
                 OKAPI_INVALID_ARGUMENT, "out");

  okapi_delta_options options = OKAPI_DELTA_OPTIONS_INIT;
  options.dtype = 4;
  expect_refusal(make(&options), OKAPI_INVALID_ARGUMENT, "options.dtype");
  options.dtype = OKAPI_DTYPE_F32;
  expect_refusal(call([&](okapi_error** error) {
                   return okapi_delta_check(base().c_str(), delta().c_str(), &options, nullptr, 0,
                                            nullptr, error);
                 }),
                 OKAPI_INVALID_ARGUMENT, "options.dtype");
  folder_.write("file", "no folder");
  EXPECT_EQ(made_to(folder_.path() / "file").status, OKAPI_NOT_FOUND);
}
