// Every dataset of the build against the contract of its kind.

#include "runtime/plugin_host/conformance.h"

#include "tests/plugins/datasets/corpus_files.h"

namespace okapi::test {
namespace {

std::string plugin(const std::string& name) {
  return OKAPI_BUILD_LIB "/okapi/plugins/dataset/" + name + ".so";
}

TEST(DatasetConformanceTest, EveryDatasetKeepsItsContract) {
  const TemporaryFolder folder;
  const auto text = folder.write("a.txt", "one\ntwo\n").string();
  const auto lines = folder.write("a.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n").string();
  const std::map<std::string, Json> given = {
      {"lines", Json::object()},
      {"text", {{"path", text}, {"document", "line"}}},
      {"jsonl", {{"path", lines}}},
      {"conversations", {{"path", OKAPI_TEST_DATA "/conversations/fastchat_excerpt.json"}}},
  };
  size_t n_plugins = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(OKAPI_BUILD_LIB "/okapi/plugins/dataset")) {
    const std::string name = entry.path().stem().string();
    ASSERT_TRUE(given.contains(name)) << name << ": say what it is to be opened with";
    const auto checks = check_plugin(entry.path(), nullptr, given.at(name));
    EXPECT_GE(checks.size(), 6U) << name;
    for (const ConformanceCheck& check : checks) {
      EXPECT_TRUE(check.passed) << name << ": " << check.check << ": " << check.detail;
    }
    ++n_plugins;
  }
  EXPECT_EQ(n_plugins, given.size());
}

// Made documents are a second contract of the lines dataset.
TEST(DatasetConformanceTest, LinesKeepItWhenTheyAreToLearnFrom) {
  for (const char* style : {"compact", "longchat"}) {
    for (const ConformanceCheck& check : check_plugin(
             plugin("lines"), nullptr, {{"training", true}, {"style", style}, {"length", 2000}})) {
      EXPECT_TRUE(check.passed) << style << ": " << check.check << ": " << check.detail;
    }
  }
}

// A file cannot be made up: without one, what can be checked is.
TEST(DatasetConformanceTest, ADatasetThatNeedsAFileIsCheckedAsFarAsThatGoes) {
  for (const char* name : {"text", "jsonl", "conversations"}) {
    const auto checks = check_plugin(plugin(name), nullptr);
    EXPECT_TRUE(conformance_json(checks)["passed"].get<bool>()) << name;
    EXPECT_THAT(checks.back().detail, testing::HasSubstr("path")) << name;
  }
}

}  // namespace
}  // namespace okapi::test
