// Tokenizer models that are cut off, damaged or made to do harm: each is refused by an error that
// names file and field, and none ends the process.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "tests/support/temporary_folder.h"
#include "tests/tokenizer/proto_writer.h"
#include "tests/tokenizer/tokenizer_support.h"

namespace okapi::test {
namespace {

constexpr uint64_t kUnknown = 2, kUserDefined = 4, kByte = 6;

std::string piece(std::string_view name, uint64_t type = 1, float score = 0) {
  return text(1, text(1, name) + real(2, score) + number(3, type));
}

/// The smallest model sentencepiece accepts, and something to break.
std::string small_model() { return piece("<unk>", kUnknown) + piece("a") + piece("b"); }

std::string user_symbols(int n) {
  std::string model = small_model();
  std::string symbol = "x";
  for (int i = 0; i < n; ++i) model += piece(symbol += "y", kUserDefined);
  return model;
}

struct Hostile {
  const char* name;
  std::string model;
  const char* field;
};

std::vector<Hostile> hostile_models() {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinite = std::numeric_limits<float>::infinity();
  const std::string good = small_model();
  return {
      {"empty file", "", "size"},
      {"text", "this is no model", "model"},
      {"tag cut off", good + "\x80", "model"},
      {"number of 80 bits", good + tag(200, 0) + std::string(11, '\xFF') + "\x01", "model"},
      {"field number 0", good + tag(0, 0) + varint(1), "model"},
      {"group", good + tag(200, 3), "model"},
      {"length past the end", good + tag(1, 2) + varint(1000) + "abc", "model"},
      {"length of 2^63", good + tag(1, 2) + varint(uint64_t{1} << 63), "model"},
      {"pieces stored as a number", good + number(1, 5), "model"},
      {"no pieces", text(2, number(3, 2)), "pieces"},
      {"empty piece", good + piece(""), "pieces[3].piece"},
      {"piece without text", good + text(1, real(2, 0)), "pieces[3].piece"},
      {"piece with a zero byte", good + piece(std::string_view("a\0b", 3)), "pieces[3].piece"},
      {"piece that is not UTF-8", good + piece("\xC3\x28"), "pieces[3].piece"},
      {"piece of 9000 bytes", good + piece(std::string(9000, 'x')), "pieces[3].piece"},
      {"piece given twice", good + piece("a"), "pieces[3].piece"},
      {"piece cut off", good + text(1, text(1, "c") + tag(2, 5) + "ab"), "pieces[3]"},
      {"score NaN", good + piece("c", 1, nan), "pieces[3].score"},
      {"score infinite", good + piece("c", 1, infinite), "pieces[3].score"},
      {"score stored as a number", good + text(1, text(1, "c") + number(2, 1)), "pieces[3].score"},
      {"two scores", good + text(1, text(1, "c") + real(2, 1) + real(2, 2)), "pieces[3]"},
      {"type 0", good + piece("c", 0), "pieces[3].type"},
      {"type 7", good + piece("c", 7), "pieces[3].type"},
      {"type 2^63", good + piece("c", uint64_t{1} << 63), "pieces[3].type"},
      {"no unknown piece", piece("a") + piece("b"), "pieces.type"},
      {"two unknown pieces", good + piece("<unk2>", kUnknown), "pieces.type"},
      {"byte without fallback", good + piece("<0x00>", kByte), "pieces[3].type"},
      {"byte -1", good + piece("<0x-1>", kByte), "pieces[3].piece"},
      {"byte 256", good + piece("<0x100>", kByte), "pieces[3].piece"},
      {"fallback without its bytes", good + text(2, number(35, 1)), "trainer_spec.byte_fallback"},
      {"fallback with one byte", good + text(2, number(35, 1)) + piece("<0x00>", kByte),
       "trainer_spec.byte_fallback"},
      {"65 nested symbols", user_symbols(65), "pieces.piece"},
      {"model type 9", good + text(2, number(3, 9)), "trainer_spec.model_type"},
      {"bos id past the end", good + text(2, number(41, 3)), "trainer_spec.bos_id"},
      {"eos id -2", good + text(2, number(42, static_cast<uint64_t>(-2))), "trainer_spec.eos_id"},
      {"two trainer specs", good + text(2, number(3, 2)) + text(2, number(3, 2)), "model"},
      {"normalization table too short", good + text(3, text(2, "abc")),
       "normalizer_spec.precompiled_charsmap"},
      {"normalization table past its end", good + text(3, text(2, little_endian(400) + "abcd")),
       "normalizer_spec.precompiled_charsmap"},
      {"denormalization table broken", good + text(5, text(2, "abc")),
       "denormalizer_spec.precompiled_charsmap"},
      {"self test cut off", good + text(4, text(1, tag(1, 2) + varint(9))),
       "self_test_data.samples"},
  };
}

TEST(HostileTokenizerTest, TheModelBeforeItIsBrokenIsFine) {
  const TemporaryFolder folder;
  EXPECT_EQ(open_tokenizer(folder.write("good.model", small_model()))->vocab_size(), 3);
  EXPECT_EQ(open_tokenizer(folder.write("nested.model", user_symbols(64)))->vocab_size(), 67);
}

TEST(HostileTokenizerTest, EveryHostileModelIsRefusedByFileAndField) {
  const TemporaryFolder folder;
  for (const Hostile& hostile : hostile_models()) {
    const std::string path = folder.write("hostile.model", hostile.model).string();
    try {
      open_tokenizer(path);
      ADD_FAILURE() << hostile.name << ": was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.file(), path) << hostile.name;
      EXPECT_EQ(error.field_name(), hostile.field) << hostile.name << ": " << error.message();
    }
  }
}

/// Opens a damaged model; where it is still a model, uses it. Returns whether it opened.
bool open_and_use(const std::filesystem::path& path) {
  try {
    const auto tokenizer = open_tokenizer(path);
    const std::vector<int32_t> ids =
        tokenizer->encode("A lion \xEF\xAC\x81nds <24169>\n\xE5\x8C\x97 \xFF x", false);
    tokenizer->decode(ids);
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.file(), path.string()) << error.message();
    EXPECT_FALSE(error.field_name().empty()) << error.message();
    return false;
  }
}

void flip_bits(const std::string& model, size_t begin, size_t end, int n_flips, uint64_t seed) {
  const TemporaryFolder folder;
  Random random(seed);
  int n_opened = 0;
  for (int i = 0; i < n_flips; ++i) {
    std::string damaged = model;
    const auto place = static_cast<size_t>(
        random.uniform_int(static_cast<int64_t>(begin), static_cast<int64_t>(end) - 1));
    damaged[place] = static_cast<char>(damaged[place] ^ (1 << random.uniform_int(0, 7)));
    n_opened += open_and_use(folder.write("flipped.model", damaged)) ? 1 : 0;
  }
  // Both sides were reached: some flips leave a usable model, others do not.
  EXPECT_GT(n_opened, 0);
  EXPECT_LT(n_opened, n_flips);
}

TEST(HostileTokenizerTest, NoFlippedBitEndsTheProcess) {
  const std::string model = bytes_of(tokenizer_data("savanna.model"));
  flip_bits(model, 0, model.size(), 1500, 1);
}

// sentencepiece walks the normalization rules without bounds checks.
TEST(HostileTokenizerTest, NoFlippedBitOfTheNormalizationRulesEndsTheProcess) {
  const std::string model = bytes_of(tokenizer_data("small.model"));
  const size_t name = model.find("nfkc");
  ASSERT_NE(name, std::string::npos);
  flip_bits(model, name, model.size(), 300, 2);
}

TEST(HostileTokenizerTest, NoTruncationEndsTheProcess) {
  const std::string model = bytes_of(tokenizer_data("savanna.model"));
  const TemporaryFolder folder;
  for (size_t length = 1; length < model.size(); length += 37) {
    open_and_use(folder.write("short.model", model.substr(0, length)));
  }
}

}  // namespace
}  // namespace okapi::test
