// What a plugin file says is read without running it; files that are none are refused with a
// reason.

#include "runtime/plugin_host/plugin_metadata.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "runtime/base/random.h"
#include "tests/plugin_host/test_plugins.h"
#include "tests/support/plugin_harness.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {
namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST(PluginMetadataTest, ReadsTheEntryOfAPluginThatWouldEndTheProcessIfItRan) {
  const PluginMetadata found = read_plugin_metadata(entry("none"));
  EXPECT_EQ(found.id, "org.example.rope.trap");
  EXPECT_EQ(found.name, "trap");
  EXPECT_EQ(found.version, "1.0");
  EXPECT_EQ(found.license, "Apache-2.0");
  EXPECT_EQ(found.built_with, "okapi 9.9");
  EXPECT_EQ(found.extensions, std::vector<std::string>{"okapi.rope/1"});
  EXPECT_EQ(found.kinds, std::vector<std::string>{"rope"});
  EXPECT_TRUE(found.parameters.specs().empty());
}

TEST(PluginMetadataTest, ReadsParametersThatTheCompilerWrote) {
  const PluginMetadata yarn = read_plugin_metadata(plugin_folder() / "rope" / "yarn.so");
  EXPECT_EQ(yarn.parameters.find("beta_fast")->default_value, Json(32));
  EXPECT_EQ(yarn.parameters.find("ramp")->choices,
            (std::vector<std::string>{"pairs", "rotations"}));
  EXPECT_EQ(yarn.parameters.find("scale")->from_model, "length_ratio");
  EXPECT_EQ(yarn.parameters.find("scale")->min, 1);
  EXPECT_EQ(yarn.json()["kind"], "rope");
  const PluginMetadata xpos = read_plugin_metadata(plugin_folder() / "rope" / "xpos.so");
  EXPECT_EQ(xpos.parameters.find("gamma")->default_value, Json(0.4));
  EXPECT_EQ(read_plugin_metadata(test_plugins() / "dataset" / "words.so").kinds.front(), "dataset");
  EXPECT_EQ(read_plugin_metadata(test_plugins() / "task" / "repeat.so").kinds.front(), "task");
}

TEST(PluginMetadataTest, AnotherAbiIsRefusedWithBothNumbers) {
  const Error newer = error_of([] { read_plugin_metadata(entry("major")); });
  EXPECT_EQ(newer.code(), Code::failed_precondition);
  EXPECT_EQ(
      newer.message(),
      "needs plugin ABI 7.1 (built with the headers of okapi 9.9), this okapi has 0.1: a newer "
      "okapi is needed");
  const Error minor = error_of([] { read_plugin_metadata(entry("minor")); });
  EXPECT_EQ(minor.code(), Code::failed_precondition);
  EXPECT_NE(minor.message().find("needs plugin ABI 0.99"), std::string::npos) << minor.message();
  EXPECT_NE(minor.message().find("this okapi has 0.1"), std::string::npos) << minor.message();
}

TEST(PluginMetadataTest, RefusesDamagedEntriesSayingWhatIsWrong) {
  const struct {
    fs::path file;
    const char* reason;
  } rows[] = {{entry("no_symbol"), "exports no okapi_plugin_entry_v1: not an okapi plugin"},
              {entry("function"), "okapi_plugin_entry_v1 is not data"},
              {entry("magic"), "wrong magic number"},
              {entry("size"), "claims 100"},
              {entry("name"), "name is not a name: \"no blanks please\""},
              {entry("utf8"), "summary is not UTF-8 text"},
              {entry("bss"), "is not in the file: it must be a constant"},
              {entry("unended"), "license has no end"},
              {broken("extensions"), "offers nothing this okapi can use: okapi.weather/3"},
              {broken("parameters"), "no such type: colour"}};
  for (const auto& row : rows) {
    const Error error = error_of([&] { read_plugin_metadata(row.file); });
    EXPECT_EQ(error.code(), Code::invalid_argument) << row.file;
    EXPECT_EQ(error.file(), row.file.string());
    EXPECT_NE(error.message().find(row.reason), std::string::npos) << error.message();
  }
}

TEST(PluginMetadataTest, RefusesFilesThatAreNoPlugin) {
  const TemporaryFolder folder;
  const auto code = [](const fs::path& path) {
    return error_of([&] { read_plugin_metadata(path); }).code();
  };
  EXPECT_EQ(code(folder.path() / "missing.so"), Code::not_found);
  EXPECT_EQ(code(folder.path()), Code::invalid_argument);
  EXPECT_EQ(code(folder.write("empty.so", "")), Code::invalid_argument);
  EXPECT_EQ(code(folder.write("text.so", "not an ELF file")), Code::invalid_argument);
  EXPECT_EQ(code(folder.write("magic.so", "\177ELF")), Code::invalid_argument);
  EXPECT_EQ(code("/proc/self/exe"), Code::invalid_argument) << "a program is no plugin";
  EXPECT_EQ(code("/dev/null"), Code::invalid_argument);
}

TEST(PluginMetadataTest, RefusesAPluginOfAnotherMachine) {
  const TemporaryFolder folder;
  std::string bytes = contents(good());
  bytes[18] = 2;  // e_machine: SPARC
  bytes[19] = 0;
  const Error error = error_of([&] { read_plugin_metadata(folder.write("sparc.so", bytes)); });
  EXPECT_NE(error.message().find("another machine"), std::string::npos) << error.message();
}

TEST(PluginMetadataTest, RefusesEveryTruncation) {
  const TemporaryFolder folder;
  const std::string bytes = contents(good());
  for (size_t size = 0; size < bytes.size(); size += 61) {
    const fs::path file = folder.write("cut.so", bytes.substr(0, size));
    EXPECT_NE(error_of([&] { read_plugin_metadata(file); }).code(), Code::ok) << size << " bytes";
  }
}

TEST(PluginMetadataTest, SurvivesFlippedBits) {
  const TemporaryFolder folder;
  const std::string bytes = contents(good());
  Random random(1);
  int n_refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = bytes;
    // Half of them in the headers, where sizes and offsets are.
    const bool at_ends = i % 2 == 0;
    const auto last = static_cast<int64_t>(bytes.size()) - 1;
    const int64_t at =
        at_ends ? (i % 4 == 0 ? random.uniform_int(0, 63) : random.uniform_int(last - 2048, last))
                : random.uniform_int(0, last);
    damaged[static_cast<size_t>(at)] ^= static_cast<char>(1 << random.uniform_int(0, 7));
    const fs::path file = folder.write("flipped.so", damaged);
    if (error_of([&] { read_plugin_metadata(file); }).code() != Code::ok) ++n_refused;
  }
  EXPECT_GT(n_refused, 50);
  EXPECT_LT(n_refused, 2000);
}

}  // namespace
}  // namespace okapi::test
