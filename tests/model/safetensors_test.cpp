#include "runtime/model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "runtime/base/error.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {
namespace {

using testing::ElementsAre;

/// The bytes of a file with this header and data.
std::string file_of(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i) & 0xFF);
  return bytes + header + data;
}

std::string bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), 4 * values.size()};
}

float float_at(const ConstTensorView& view, size_t index) {
  return static_cast<const float*>(view.data)[index];
}

// The example of the format's description, with spaces as padding.
TEST(SafetensorsTest, ReadsTensorsAndMetadata) {
  const TemporaryFolder folder;
  const auto path = folder.write(
      "a.safetensors",
      file_of(
          R"({"__metadata__":{"format":"pt"},"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
          R"("y":{"dtype":"U8","shape":[],"data_offsets":[24,25]}}    )",
          bytes_of({1, 2, 3, 4, 5, 6}) + "\x07"));
  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_THAT(file.names(), ElementsAre("x", "y"));
  EXPECT_EQ(file.metadata().at("format"), "pt");

  const ConstTensorView x = file.tensor("x");
  EXPECT_EQ(x.dtype, DType::f32);
  EXPECT_EQ(x.rank, 2);
  EXPECT_EQ(x.shape[0], 2);
  EXPECT_EQ(x.shape[1], 3);
  EXPECT_EQ(x.strides[0], 3);
  EXPECT_EQ(x.strides[1], 1);
  EXPECT_EQ(float_at(x, 5), 6.0F);

  const ConstTensorView y = file.tensor("y");
  EXPECT_EQ(y.rank, 0);
  EXPECT_EQ(*static_cast<const uint8_t*>(y.data), 7);
}

// Old files do not pad their header.
TEST(SafetensorsTest, AlignsTensorsThatTheFileDoesNot) {
  const TemporaryFolder folder;
  for (int n_spaces = 0; n_spaces < 8; ++n_spaces) {
    const auto path = folder.write(
        "odd.safetensors", file_of(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})" +
                                       std::string(static_cast<size_t>(n_spaces), ' '),
                                   bytes_of({1.5, -2})));
    SafetensorsFile opened = SafetensorsFile::open(path);
    const SafetensorsFile file = std::move(opened);
    const ConstTensorView x = file.tensor("x");
    EXPECT_EQ(reinterpret_cast<uintptr_t>(x.data) % 4, 0U);
    EXPECT_EQ(float_at(x, 0), 1.5F);
    EXPECT_EQ(float_at(x, 1), -2.0F);
  }
}

TEST(SafetensorsTest, ReadsEmptyTensorsAndEmptyFiles) {
  const TemporaryFolder folder;
  const SafetensorsFile file = SafetensorsFile::open(folder.write(
      "e.safetensors", file_of(R"({"e":{"dtype":"F16","shape":[0,4],"data_offsets":[0,0]}})", "")));
  EXPECT_EQ(file.tensor("e").count(), 0);
  EXPECT_TRUE(
      SafetensorsFile::open(folder.write("n.safetensors", file_of("{}", ""))).names().empty());
}

TEST(SafetensorsTest, NamesDtypesAndRanksItDoesNotComputeWith) {
  const TemporaryFolder folder;
  const SafetensorsFile file = SafetensorsFile::open(folder.write(
      "q.safetensors", file_of(R"({"q":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},)"
                               R"("r":{"dtype":"U8","shape":[1,1,1,1,1],"data_offsets":[2,3]}})",
                               "abc")));
  EXPECT_THAT(file.shape("q"), ElementsAre(2));
  for (const char* name : {"q", "r"}) {
    try {
      file.tensor(name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::unimplemented);
      EXPECT_EQ(error.field_name(), name);
    }
  }
  EXPECT_THROW(file.tensor("absent"), Error);
}

TEST(SafetensorsTest, ReadsBackWhatItWrote) {
  const TemporaryFolder folder;
  const std::vector<float> floats = {1, 2, 3};
  const std::vector<uint16_t> halves = {0x3C00, 0xBC00};
  const std::vector<int64_t> longs = {-1, int64_t{1} << 40};
  const std::vector<uint8_t> bytes = {1, 2, 255};
  const auto path = folder.path() / "w.safetensors";
  write_safetensors(path,
                    {{"bytes", {bytes.data(), DType::u8, {3}}},
                     {"halves", {halves.data(), DType::bf16, {2, 1}}},
                     {"floats", {floats.data(), DType::f32, {3}}},
                     {"none", {nullptr, DType::f32, {0}}},
                     {"longs", {longs.data(), DType::i64, {1, 2}}}},
                    {{"made by", "a test"}});

  const SafetensorsFile file = SafetensorsFile::open(path);
  EXPECT_THAT(file.names(), ElementsAre("bytes", "floats", "halves", "longs", "none"));
  EXPECT_EQ(file.metadata().at("made by"), "a test");
  EXPECT_EQ(file.tensor("halves").dtype, DType::bf16);
  EXPECT_EQ(std::memcmp(file.tensor("floats").data, floats.data(), 12), 0);
  EXPECT_EQ(std::memcmp(file.tensor("halves").data, halves.data(), 4), 0);
  EXPECT_EQ(std::memcmp(file.tensor("longs").data, longs.data(), 16), 0);
  EXPECT_EQ(std::memcmp(file.tensor("bytes").data, bytes.data(), 3), 0);

  // Nothing is left beside it.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(SafetensorsTest, WritesOnlyWhatCanBeRead) {
  const TemporaryFolder folder;
  const std::vector<float> floats = {1, 2, 3, 4};
  const ConstTensorView view(floats.data(), DType::f32, {2, 2});
  ConstTensorView transposed = view;
  std::swap(transposed.strides[0], transposed.strides[1]);
  const auto path = folder.path() / "w.safetensors";
  EXPECT_THROW(write_safetensors(path, {{"a", view}, {"a", view}}), Error);
  EXPECT_THROW(write_safetensors(path, {{"__metadata__", view}}), Error);
  EXPECT_THROW(write_safetensors(path, {{"t", transposed}}), Error);
  EXPECT_THROW(write_safetensors(folder.path() / "no" / "folder", {{"a", view}}), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace okapi::test
