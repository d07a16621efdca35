// Folders that are cut off, damaged or made to do harm: each is refused by an error that names file
// and field, and none reads outside its files or asks for memory that the files do not justify.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <cstdint>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
#include "runtime/base/random.h"
#include "runtime/model/checkpoint.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace okapi::test {
namespace {

/// As small as a Llama gets.
TinyModel smallest() {
  return {.n_layers = 1,
          .d_model = 4,
          .d_ff = 2,
          .vocab_size = 3,
          .n_heads = 2,
          .n_kv_heads = 1,
          .head_dim = 2,
          .trained_length = 16};
}

std::string length_and(const std::string& header) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i) & 0xFF);
  return bytes + header;
}

struct Hostile {
  std::string name;
  std::string file;   ///< the file overwritten
  std::string bytes;  ///< its new contents
  std::string field;
  bool sharded = false;
  std::string named_file = file;  ///< what the error names
};

void expect_refused(const Hostile& hostile) {
  const TemporaryFolder folder;
  TinyModel model = smallest();
  model.n_shards = hostile.sharded ? 2 : 1;
  write_tiny_model(folder.path(), model);
  folder.write(hostile.file, hostile.bytes);
  try {
    Checkpoint::open(folder.path());
    ADD_FAILURE() << hostile.name << ": was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.file(), (folder.path() / hostile.named_file).string()) << hostile.name;
    EXPECT_EQ(error.field_name(), hostile.field) << hostile.name << ": " << error.message();
  }
}

/// A file of one tensor "x" described by `entry`, with 8 bytes of data.
Hostile tensor_case(const std::string& name, const std::string& entry, const std::string& field) {
  return {name, "model.safetensors", length_and("{\"x\":" + entry + "}") + "12345678", field};
}

Hostile header_case(const std::string& name, const std::string& header, const std::string& data,
                    const std::string& field) {
  return {name, "model.safetensors", length_and(header) + data, field};
}

TEST(HostileSafetensorsTest, EveryHostileFileIsRefusedByFileAndField) {
  const std::string eight = "12345678";
  const std::string deep = "{\"x\":" + std::string(100000, '[') + std::string(100000, ']') + "}";
  const std::vector<Hostile> cases = {
      {"empty file", "model.safetensors", "", "size"},
      {"seven bytes", "model.safetensors", "1234567", "header_length"},
      {"length past the end", "model.safetensors", length_and("{}").substr(0, 9), "header_length"},
      {"length of 2^64 - 1", "model.safetensors", std::string(8, '\xFF') + "{}", "header_length"},
      {"length of 2^63", "model.safetensors", std::string(7, '\0') + "\x80{}", "header_length"},
      header_case("no header", "", "", "header"),
      header_case("header starts with a space", " {}", "", "header"),
      header_case("header is no JSON", "{x}", "", "header"),
      header_case("header is an array", "[]", "", "header"),
      header_case("header not UTF-8", "{\"\xFF\":1}", "", "header"),
      header_case("header nested 100000 deep", deep, "", "header"),
      header_case("a key twice",
                  R"({"x":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},)"
                  R"("x":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
                  eight, "x"),
      header_case("metadata that is no object", R"({"__metadata__":3})", "", "__metadata__"),
      header_case("metadata that is no text", R"({"__metadata__":{"a":1}})", "", "__metadata__.a"),
      tensor_case("entry that is a number", "3", "x"),
      tensor_case("entry that is null", "null", "x"),
      tensor_case("no dtype", R"({"shape":[8],"data_offsets":[0,8]})", "x.dtype"),
      tensor_case("unknown dtype", R"({"dtype":"F99","shape":[8],"data_offsets":[0,8]})",
                  "x.dtype"),
      tensor_case("dtype that is a number", R"({"dtype":8,"shape":[8],"data_offsets":[0,8]})",
                  "x.dtype"),
      tensor_case("no shape", R"({"dtype":"U8","data_offsets":[0,8]})", "x.shape"),
      tensor_case("negative size", R"({"dtype":"U8","shape":[-8],"data_offsets":[0,8]})",
                  "x.shape[0]"),
      tensor_case("size that is a fraction", R"({"dtype":"U8","shape":[8.5],"data_offsets":[0,8]})",
                  "x.shape[0]"),
      tensor_case("size of 2^64",
                  R"({"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,8]})",
                  "x.shape[0]"),
      tensor_case("sizes whose product overflows to 8",
                  R"({"dtype":"U8","shape":[4611686018427387906,4],"data_offsets":[0,8]})",
                  "x.shape"),
      tensor_case("sizes whose bytes overflow",
                  R"({"dtype":"F64","shape":[2305843009213693953],"data_offsets":[0,8]})",
                  "x.shape"),
      tensor_case("half a byte", R"({"dtype":"F4","shape":[3],"data_offsets":[0,2]})", "x.shape"),
      tensor_case("no offsets", R"({"dtype":"U8","shape":[8]})", "x.data_offsets"),
      tensor_case("one offset", R"({"dtype":"U8","shape":[8],"data_offsets":[8]})",
                  "x.data_offsets"),
      tensor_case("offsets reversed", R"({"dtype":"U8","shape":[8],"data_offsets":[8,0]})",
                  "x.data_offsets"),
      tensor_case("offset negative", R"({"dtype":"U8","shape":[8],"data_offsets":[-1,7]})",
                  "x.data_offsets[0]"),
      tensor_case("offset past the end", R"({"dtype":"U8","shape":[9],"data_offsets":[0,9]})",
                  "x.data_offsets"),
      tensor_case("offset of 2^63 - 1",
                  R"({"dtype":"U8","shape":[8],"data_offsets":[0,9223372036854775807]})",
                  "x.data_offsets"),
      tensor_case("shape larger than the offsets",
                  R"({"dtype":"F32","shape":[8],"data_offsets":[0,8]})", "x.data_offsets"),
      tensor_case("unknown key", R"({"dtype":"U8","shape":[8],"data_offsets":[0,8],"strides":[1]})",
                  "x.strides"),
      tensor_case("gap at the start", R"({"dtype":"U8","shape":[4],"data_offsets":[4,8]})",
                  "x.data_offsets"),
      tensor_case("data after the last tensor",
                  R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})", "data_offsets"),
      header_case("overlap",
                  R"({"x":{"dtype":"U8","shape":[6],"data_offsets":[0,6]},)"
                  R"("y":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
                  eight, "y.data_offsets"),
      header_case("gap between",
                  R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                  R"("y":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
                  eight, "y.data_offsets"),
      header_case("no tensors", "{}", "", "model.embed_tokens.weight"),
  };
  for (const Hostile& hostile : cases) expect_refused(hostile);
}

TEST(HostileSafetensorsTest, APointerOfGitLfsIsNamedAsSuch) {
  const auto message_of = [](const std::string& bytes) -> std::string {
    const TemporaryFolder folder;
    write_tiny_model(folder.path(), smallest());
    folder.write("model.safetensors", bytes);
    try {
      Checkpoint::open(folder.path());
    } catch (const Error& error) {
      return error.message();
    }
    return "was accepted";
  };
  EXPECT_THAT(message_of("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
              testing::HasSubstr("Git LFS"));
  EXPECT_THAT(message_of("<!DOCTYPE html>"), testing::HasSubstr("it is no safetensors file"));
}

/// A configuration with one key changed; null removes it.
Hostile config_case(const std::string& name, const std::string& key, const Json& value,
                    const std::string& field) {
  TinyModel model = smallest();
  model.more_config = {{key, value}};
  return {name, "config.json", tiny_model_config(model).dump(), field};
}

Hostile config_text(const std::string& name, const std::string& text, const std::string& field) {
  return {name, "config.json", text, field};
}

TEST(HostileConfigTest, EveryHostileConfigurationIsRefusedByFileAndField) {
  const std::string good = tiny_model_config(smallest()).dump();
  const auto replaced = [&good](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  const auto weights = [](Hostile hostile) {  // right by itself, but not for the weights there
    hostile.named_file = "model.safetensors";
    return hostile;
  };
  const std::vector<Hostile> cases = {
      config_text("empty", "", "json"),
      config_text("cut off", good.substr(0, good.size() / 2), "json"),
      config_text("an array", "[1]", "json"),
      config_text("a zero byte inside", good + std::string(1, '\0'), "json"),
      config_text("nested 100000 deep", std::string(100000, '['), "json"),
      config_text("a key twice",
                  replaced("\"hidden_size\":4", "\"hidden_size\":4,\"hidden_size\":4"),
                  "hidden_size"),
      config_text("NaN", replaced("1e-05", "NaN"), "json"),
      config_text("1e999", replaced("1e-05", "1e999"), "json"),
      config_case("no layers", "num_hidden_layers", 0, "num_hidden_layers"),
      config_case("layers missing", "num_hidden_layers", nullptr, "num_hidden_layers"),
      config_case("negative layers", "num_hidden_layers", -1, "num_hidden_layers"),
      config_case("layers as text", "num_hidden_layers", "1", "num_hidden_layers"),
      config_case("2^62 layers", "num_hidden_layers", int64_t{1} << 62, "num_hidden_layers"),
      config_case("no heads", "num_attention_heads", 0, "num_attention_heads"),
      config_case("no kv heads", "num_key_value_heads", 0, "num_key_value_heads"),
      config_case("kv heads that do not divide", "num_key_value_heads", 3, "num_key_value_heads"),
      config_case("odd head_dim", "head_dim", 3, "head_dim"),
      config_case("head_dim 0", "head_dim", 0, "head_dim"),
      config_case("no width", "hidden_size", 0, "hidden_size"),
      config_case("fractional width", "hidden_size", 4.5, "hidden_size"),
      config_case("width of 2^40", "hidden_size", int64_t{1} << 40, "hidden_size"),
      config_case("no vocabulary", "vocab_size", 0, "vocab_size"),
      config_case("vocabulary of 2^64 - 1", "vocab_size", UINT64_MAX, "vocab_size"),
      config_case("no feed-forward", "intermediate_size", 0, "intermediate_size"),
      config_case("length 0", "max_position_embeddings", 0, "max_position_embeddings"),
      config_case("negative epsilon", "rms_norm_eps", -1, "rms_norm_eps"),
      config_case("epsilon as text", "rms_norm_eps", "small", "rms_norm_eps"),
      config_case("tie as a number", "tie_word_embeddings", 1, "tie_word_embeddings"),
      config_case("bos past the vocabulary", "bos_token_id", 3, "bos_token_id"),
      config_case("eos past the vocabulary", "eos_token_id", Json::array({2, 3}),
                  "eos_token_id[1]"),
      config_case("eos as an object", "eos_token_id", Json::object(), "eos_token_id"),
      config_case("architecture as text", "architectures", "LlamaForCausalLM", "architectures"),
      config_case("no architecture", "architectures", Json::array(), "architectures"),
      config_case("rope as text", "rope_parameters", "yarn", "rope_parameters"),
      config_case("rope misspelt", "rope_scalling", {{"type", "linear"}, {"factor", 2.0}},
                  "rope_scalling"),
      weights(config_case("more layers than the file", "num_hidden_layers", 65536,
                          "model.layers.1.input_layernorm.weight")),
      weights(config_case("a larger vocabulary than the file", "vocab_size", 268435456,
                          "model.embed_tokens.weight")),
      weights(
          config_case("wider than the file", "hidden_size", 16777216, "model.embed_tokens.weight")),
      weights(config_case("longer heads than the file", "head_dim", 16384,
                          "model.layers.0.self_attn.q_proj.weight")),
      weights(config_case("more feed-forward than the file", "intermediate_size", 3,
                          "model.layers.0.mlp.gate_proj.weight")),
  };
  for (const Hostile& hostile : cases) expect_refused(hostile);
}

Hostile index_case(const std::string& name, const std::string& text, const std::string& field) {
  return {name, "model.safetensors.index.json", text, field, /*sharded=*/true};
}

TEST(HostileIndexTest, EveryHostileIndexIsRefusedByFileAndField) {
  const TemporaryFolder folder;
  TinyModel model = smallest();
  model.n_shards = 2;
  write_tiny_model(folder.path(), model);
  const Json good =
      Json::parse(read_file(folder.path() / "model.safetensors.index.json", size_t{1} << 20));
  const std::string norm = "model.norm.weight";
  const auto with_shard = [&](const Json& shard) {
    Json index = good;
    index["weight_map"][norm] = shard;
    return index.dump();
  };
  const std::string field = "weight_map." + norm;
  Json without_norm = good;
  without_norm["weight_map"].erase(norm);
  Json unknown_key = good;
  unknown_key["more"] = 1;
  const std::string other_shard = good["weight_map"][norm] == "model-1.safetensors"
                                      ? "model-2.safetensors"
                                      : "model-1.safetensors";
  const std::vector<Hostile> cases = {
      index_case("empty", "", "json"),
      index_case("cut off", good.dump().substr(0, 40), "json"),
      index_case("no map", R"({"metadata":{}})", "weight_map"),
      index_case("map is a list", R"({"weight_map":[]})", "weight_map"),
      index_case("map is empty", R"({"weight_map":{}})", "model.embed_tokens.weight"),
      index_case("unknown key", unknown_key.dump(), "more"),
      index_case("shard is a number", with_shard(1), field),
      index_case("shard is empty", with_shard(""), field),
      index_case("shard does not exist", with_shard("model-9.safetensors"), field),
      index_case("shard in the folder above", with_shard("../model-1.safetensors"), field),
      index_case("shard by absolute path", with_shard("/etc/passwd"), field),
      index_case("shard in a folder below", with_shard("sub/model-1.safetensors"), field),
      index_case("shard is the folder", with_shard(".."), field),
      index_case("shard with a zero byte", with_shard(std::string("model-1\0", 8)), field),
      index_case("shard that lacks the tensor", with_shard(other_shard), field),
      index_case("tensor left out", without_norm.dump(), field),
  };
  for (const Hostile& hostile : cases) expect_refused(hostile);
}

TEST(HostileIndexTest, ADamagedShardIsNamedItself) {
  expect_refused({"shard cut off", "model-2.safetensors", "1234", "header_length", true});
}

TEST(HostileFilesTest, FoldersPipesAndMissingFilesAreErrors) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.path() / "config.json");
  EXPECT_THROW(Checkpoint::open(folder.path()), Error);
  std::filesystem::remove(folder.path() / "config.json");
  ASSERT_EQ(::mkfifo((folder.path() / "config.json").c_str(), 0600), 0);
  EXPECT_THROW(Checkpoint::open(folder.path()), Error);
}

/// Opens a damaged folder; where it is still a model, reads every byte of it.
bool open_and_read(const std::filesystem::path& folder) {
  try {
    const Checkpoint checkpoint = Checkpoint::open(folder);
    uint64_t sum = 0;
    for (const std::string& name : checkpoint.names()) {
      const ConstTensorView view = checkpoint.tensor(name);
      const auto* bytes = static_cast<const uint8_t*>(view.data);
      const size_t n_bytes = static_cast<size_t>(view.count()) * size_of(view.dtype);
      for (size_t i = 0; i < n_bytes; ++i) sum += bytes[i];
    }
    EXPECT_GT(sum, 0U);
    return true;
  } catch (const Error& error) {
    EXPECT_FALSE(error.file().empty()) << error.message();
    EXPECT_FALSE(error.field_name().empty()) << error.message();
    return false;
  }
}

/// Flips one to three bits of a file, thousands of times.
void flip_bits(const std::string& file_name, int n_shards, int n_flips, uint64_t seed) {
  const TemporaryFolder folder;
  TinyModel model = smallest();
  model.n_shards = n_shards;
  write_tiny_model(folder.path(), model);
  const std::string good = read_file(folder.path() / file_name, size_t{1} << 20);

  Random random(seed);
  int n_opened = 0;
  for (int i = 0; i < n_flips; ++i) {
    std::string damaged = good;
    for (int64_t k = random.uniform_int(1, 3); k > 0; --k) {
      const auto place =
          static_cast<size_t>(random.uniform_int(0, static_cast<int64_t>(good.size()) - 1));
      damaged[place] = static_cast<char>(damaged[place] ^ (1 << random.uniform_int(0, 7)));
    }
    folder.write(file_name, damaged);
    n_opened += open_and_read(folder.path()) ? 1 : 0;
  }
  // Both sides were reached: some flips leave a model, others do not.
  EXPECT_GT(n_opened, 0) << file_name;
  EXPECT_LT(n_opened, n_flips) << file_name;
}

TEST(HostileFlipTest, NoFlippedBitEndsTheProcess) {
  flip_bits("model.safetensors", 1, 2000, 1);
  flip_bits("config.json", 1, 1200, 2);
  flip_bits("model.safetensors.index.json", 2, 800, 3);
}

TEST(HostileFlipTest, NoTruncationIsAccepted) {
  const TemporaryFolder folder;
  write_tiny_model(folder.path(), smallest());
  const std::string good = read_file(folder.path() / "model.safetensors", size_t{1} << 20);
  for (size_t length = 0; length < good.size(); length += length < 100 ? 1 : 7) {
    folder.write("model.safetensors", good.substr(0, length));
    EXPECT_FALSE(open_and_read(folder.path())) << length;
  }
}

}  // namespace
}  // namespace okapi::test
