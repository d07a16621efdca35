#include "runtime/model/delta.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
#include "runtime/model/checkpoint.h"
#include "runtime/model/convert.h"
#include "tests/support/plugin_harness.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

class DeltaTest : public testing::Test {
 protected:
  DeltaTest() {
    std::filesystem::create_directory(base());
    std::filesystem::create_directory(tuned());
    TinyModel model;
    model.n_layers = 1;
    model.with_tokenizer = true;
    model.vocab_size = 1024;
    model.seed = 1;
    write_tiny_model(base(), model);
    model.seed = 2;
    model.rope_parameters = {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 10000.0}};
    write_tiny_model(tuned(), model);
  }

  std::filesystem::path base() const { return folder_.path() / "base"; }
  std::filesystem::path tuned() const { return folder_.path() / "tuned"; }
  std::filesystem::path delta() const { return folder_.path() / "delta"; }
  std::filesystem::path out() const { return folder_.path() / "out"; }

  TemporaryFolder folder_;
};

/// The distance from |x| to the next f16.
double ulp_of_f16(double x) {
  return std::ldexp(1.0, std::max(std::ilogb(std::max(std::fabs(x), 1e-30)), -14) - 10);
}

TEST_F(DeltaTest, BaseAndDeltaAreTheTunedModelToAnUlpOfF16) {
  make_delta(base(), tuned(), delta());
  apply_delta(base(), delta(), out(), {.dtype = DType::f32});
  const Checkpoint wanted = Checkpoint::open(tuned());
  const Checkpoint found = Checkpoint::open(out());
  const Checkpoint from = Checkpoint::open(base());
  for (const std::string& name : wanted.names()) {
    const auto* a = static_cast<const float*>(wanted.tensor(name).data);
    const auto* b = static_cast<const float*>(found.tensor(name).data);
    const auto* c = static_cast<const float*>(from.tensor(name).data);
    for (int64_t i = 0; i < wanted.tensor(name).count(); ++i) {
      ASSERT_LE(std::fabs(static_cast<double>(a[i]) - b[i]),
                ulp_of_f16(static_cast<double>(a[i]) - c[i]))
          << name << " " << i;
    }
  }
  EXPECT_EQ(found.config().rope_spec, "linear:scale=4");
  EXPECT_TRUE(std::filesystem::exists(out() / "tokenizer.model"));
}

TEST_F(DeltaTest, InF32ItIsExactWhereTheDifferenceIs) {
  make_delta(base(), tuned(), delta(), {.dtype = DType::f32});
  apply_delta(base(), delta(), out(), {.dtype = DType::f32});
  const Checkpoint wanted = Checkpoint::open(tuned());
  const Checkpoint found = Checkpoint::open(out());
  for (const std::string& name : wanted.names()) {
    const auto* a = static_cast<const float*>(wanted.tensor(name).data);
    const auto* b = static_cast<const float*>(found.tensor(name).data);
    for (int64_t i = 0; i < wanted.tensor(name).count(); ++i) {
      ASSERT_NEAR(a[i], b[i], 1e-6) << name;
    }
  }
}

TEST_F(DeltaTest, SaysWhatItIs) {
  make_delta(base(), tuned(), delta());
  const DeltaInfo info = check_delta(base(), delta());
  EXPECT_EQ(info.base_sha256, Checkpoint::open(base()).sha256());
  EXPECT_EQ(info.tuned_sha256, Checkpoint::open(tuned()).sha256());
  EXPECT_EQ(info.rope, "linear:scale=4");
  EXPECT_EQ(info.dtype, DType::f16);
}

TEST_F(DeltaTest, AnotherBaseIsRefused) {
  make_delta(base(), tuned(), delta());
  for (const bool applies : {false, true}) {
    const Error error = error_of([&] {
      if (applies) {
        apply_delta(tuned(), delta(), out());
      } else {
        check_delta(tuned(), delta());
      }
    });
    EXPECT_EQ(error.code(), Code::failed_precondition);
    EXPECT_THAT(error.message(), HasSubstr("made from a base of SHA-256"));
  }
  EXPECT_FALSE(std::filesystem::exists(out() / "model.safetensors"));
}

TEST_F(DeltaTest, ADamagedDtypeIsRefused) {
  make_delta(base(), tuned(), delta());
  const std::filesystem::path path = delta() / "delta.safetensors";
  std::string bytes = read_file(path, size_t{1} << 30);
  bytes.replace(bytes.find(R"("dtype":"F16")"), 13, R"("dtype":"F61")");  // the metadata come first
  write_file_atomically(path, bytes);
  const Error error = error_of([&] { check_delta(base(), delta()); });
  EXPECT_EQ(error.code(), Code::data_loss);
  EXPECT_THAT(error.message(), HasSubstr("dtype: wanted F32, F16 or BF16, found F61"));
}

/// delta.safetensors with its tensors replaced, each by what `change` makes of it.
template <typename Change>
void rewrite(const std::filesystem::path& delta, Change&& change) {
  const std::filesystem::path path = delta / "delta.safetensors";
  std::map<std::string, std::string> metadata;
  std::vector<HostTensor> kept;
  std::vector<std::pair<std::string, ConstTensorView>> tensors;
  {
    const SafetensorsFile file = SafetensorsFile::open(path);
    metadata = file.metadata();
    for (const std::string& name : file.names()) {
      kept.push_back(change(name, file.tensor(name)));
      tensors.emplace_back(name, std::as_const(kept.back()).view());
    }
  }
  write_safetensors(path, tensors, metadata);
}

// Whole in itself, so that only a look at the base tells: reading on to the base's size would leave
// the file's tensors.
TEST_F(DeltaTest, ADeltaNarrowerThanTheBaseIsRefused) {
  make_delta(base(), tuned(), delta());
  TinyModel half;
  half.n_layers = 1;
  half.d_model = 32;
  half.d_ff = 88;
  half.vocab_size = 512;
  half.n_heads = 2;
  half.n_kv_heads = 1;
  std::filesystem::create_directory(out());
  write_tiny_model(out(), half);
  std::filesystem::copy_file(out() / "config.json", delta() / "config.json",
                             std::filesystem::copy_options::overwrite_existing);
  const Checkpoint narrow = Checkpoint::open(out());
  rewrite(delta(), [&](const std::string& name, ConstTensorView) {
    return converted(narrow.tensor(name), DType::f16);
  });
  for (const bool applies : {false, true}) {
    const Error error = error_of([&] {
      if (applies) {
        apply_delta(base(), delta(), folder_.path() / "never");
      } else {
        check_delta(base(), delta());
      }
    });
    EXPECT_EQ(error.code(), Code::data_loss);
    EXPECT_THAT(error.message(),
                HasSubstr("the tuned model has shape [512, 32], the base [1024, 64]"));
  }
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "never"));
}

TEST_F(DeltaTest, ATensorOfAnotherDtypeThanDeclaredIsRefused) {
  constexpr const char* kNorm = "model.norm.weight";
  const std::vector<std::pair<DType, std::string>> others = {
      {DType::i64, "I64"}, {DType::u8, "U8"}, {DType::f32, "F32"}, {DType::bf16, "BF16"}};
  for (const auto& [dtype, found] : others) {
    std::filesystem::remove_all(delta());
    make_delta(base(), tuned(), delta());
    rewrite(delta(), [&, wanted = dtype](const std::string& name, ConstTensorView view) {
      return name == kNorm ? HostTensor(wanted, {view.shape[0]}) : converted(view, DType::f16);
    });
    for (const bool applies : {false, true}) {
      const Error error = error_of([&] {
        if (applies) {
          apply_delta(base(), delta(), out());
        } else {
          check_delta(base(), delta());
        }
      });
      EXPECT_EQ(error.code(), Code::data_loss) << found;
      EXPECT_EQ(error.field_name(), kNorm);
      EXPECT_THAT(error.message(), HasSubstr("wanted F16 of shape [64], found " + found));
    }
  }
  EXPECT_FALSE(std::filesystem::exists(out()));
}

/// A float of the model's final norm, written over.
void put_in_norm(const std::filesystem::path& model, float value) {
  const std::filesystem::path path = model / "model.safetensors";
  std::string bytes = read_file(path, size_t{1} << 30);
  {
    const SafetensorsFile file = SafetensorsFile::open(path);
    const auto* data = static_cast<const std::byte*>(file.tensor("model.norm.weight").data);
    std::memcpy(bytes.data() + (data - file.bytes().data()), &value, sizeof value);
  }
  write_file_atomically(path, bytes);
}

// 40000 + 30000: base and difference fit f16 (to 65504), their sum does not.
TEST_F(DeltaTest, ASumThatDoesNotFitIsRefusedByName) {
  put_in_norm(base(), 40000);
  put_in_norm(tuned(), 70000);
  make_delta(base(), tuned(), delta());
  const Error error = error_of([&] { apply_delta(base(), delta(), out(), {.dtype = DType::f16}); });
  EXPECT_EQ(error.code(), Code::out_of_range);
  EXPECT_EQ(error.field_name(), "model.norm.weight");
  EXPECT_THAT(error.message(), HasSubstr("70000.000000 does not fit F16"));
  EXPECT_TRUE(std::filesystem::is_empty(out()));
  apply_delta(base(), delta(), out());
  EXPECT_EQ(*static_cast<const float*>(Checkpoint::open(out()).tensor("model.norm.weight").data),
            70000);
}

TEST_F(DeltaTest, ADifferenceThatDoesNotFitIsRefusedByName) {
  put_in_norm(tuned(), 70000);
  const Error error = error_of([&] { make_delta(base(), tuned(), delta()); });
  EXPECT_EQ(error.code(), Code::out_of_range);
  EXPECT_EQ(error.field_name(), "model.norm.weight");
  make_delta(base(), tuned(), delta(), {.dtype = DType::bf16});
}

TEST_F(DeltaTest, TheConfigurationNamesTheDtypeOfTheWeights) {
  make_delta(base(), tuned(), delta());
  Json wanted = parse_json_file(tuned() / "config.json", "test");
  for (const auto& [dtype, name] :
       std::vector<std::pair<std::optional<DType>, std::string>>{{std::nullopt, "float32"},
                                                                 {DType::f32, "float32"},
                                                                 {DType::f16, "float16"},
                                                                 {DType::bf16, "bfloat16"}}) {
    apply_delta(base(), delta(), out(), {.dtype = dtype});
    wanted["torch_dtype"] = name;
    EXPECT_EQ(parse_json_file(out() / "config.json", "test"), wanted);
  }
}

TEST_F(DeltaTest, ModelsOfOtherShapesAreRefused) {
  TinyModel model;
  model.n_layers = 1;
  model.vocab_size = 1000;
  write_tiny_model(tuned(), model);
  EXPECT_THAT(error_of([&] { make_delta(base(), tuned(), delta()); }).message(),
              HasSubstr("the tuned model has shape [1000, 64], the base [1024, 64]"));
}

TEST(ConvertTest, F16RoundsToTheNearestAndBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = float_of_f16(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(float_of_f16(f16_of_float(value))));
      continue;
    }
    ASSERT_EQ(f16_of_float(value), half) << value;
    // Halfway to the next one goes to the even one, a little more goes up.
    const float next = float_of_f16(static_cast<uint16_t>(bits + 1));
    if (!std::isfinite(value) || !std::isfinite(next)) continue;
    const float middle = value + (next - value) / 2;
    const uint16_t even = (bits & 1) == 0 ? half : static_cast<uint16_t>(bits + 1);
    ASSERT_EQ(f16_of_float(middle), even) << value;
    ASSERT_EQ(f16_of_float(std::nextafter(middle, next)), static_cast<uint16_t>(bits + 1)) << value;
  }
  EXPECT_EQ(f16_of_float(1e9F), 0x7C00);
  EXPECT_EQ(f16_of_float(65519.0F), 0x7BFF);
  EXPECT_EQ(f16_of_float(65520.0F), 0x7C00);
}

}  // namespace
}  // namespace okapi::test
