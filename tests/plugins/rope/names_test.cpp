// The engine and the C API know no scheme by name: names arrive as text from users and checkpoints.

#include <filesystem>
#include <fstream>
#include <regex>

#include <gtest/gtest.h>

#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

namespace fs = std::filesystem;

// Where a checkpoint's configuration is mapped to okapi's plugins, and back.
constexpr const char* kMapping = "runtime/model/rope_from_config.cpp";
constexpr const char* kMappingBack = "runtime/model/rope_to_config.cpp";

/// A word that is a scheme's name and something else too.
bool is_another_word(const std::string& file, const std::string& name) {
  return file == "runtime/training/trainer_config.cpp" && name == "linear";  // of learning rates
}

/// What stands between double quotes in the code of a file, comments left out.
std::string quoted_text(const fs::path& file) {
  std::ifstream stream(file);
  std::string text;
  for (std::string line; std::getline(stream, line);) {
    const std::string code = line.substr(0, line.find("//"));
    for (size_t begin = code.find('"'); begin != std::string::npos;) {
      const size_t end = code.find('"', begin + 1);
      if (end == std::string::npos) break;
      text += code.substr(begin, end - begin + 1) + "\n";
      begin = code.find('"', end + 1);
    }
  }
  return text;
}

TEST(SchemeNamesTest, OccurNowhereInTheEngineOrTheCApi) {
  const fs::path root(OKAPI_SOURCE_DIR);
  std::vector<std::string> names;
  for (const PluginMetadata& plugin : make_plugin_host()->plugins()) {
    // A list starts from plain RoPE, so "plain" is what no scheme at all is called.
    if (plugin.kinds.front() == "rope" && plugin.name != "plain") names.push_back(plugin.name);
  }
  ASSERT_GE(names.size(), 10U);

  int n_files = 0;
  for (const char* folder : {"runtime", "capi/src"}) {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string suffix = entry.path().extension();
      if (suffix != ".cpp" && suffix != ".h") continue;
      const std::string file = fs::relative(entry.path(), root);
      if (file == kMapping || file == kMappingBack) continue;
      ++n_files;
      const std::string text = quoted_text(entry.path());
      for (const std::string& name : names) {
        if (is_another_word(file, name)) continue;
        EXPECT_FALSE(std::regex_search(text, std::regex("[\" |]" + name + "[\":]")))
            << file << " names the scheme " << name;
      }
    }
  }
  EXPECT_GT(n_files, 50);
}

TEST(SchemeNamesTest, AreSeenByTheSearchAboveWhereTheyMayStand) {
  EXPECT_TRUE(std::regex_search(quoted_text(fs::path(OKAPI_SOURCE_DIR) / kMapping),
                                std::regex("[\" |]yarn[\":]")));
}

}  // namespace
}  // namespace okapi::test
