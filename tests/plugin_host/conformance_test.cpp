#include "runtime/plugin_host/conformance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/plugin_host/test_plugins.h"
#include "tests/support/plugin_harness.h"

namespace okapi::test {
namespace {

using testing::HasSubstr;

/// The name of the first check that fails, or "".
std::string first_failure(const std::filesystem::path& file) {
  for (const ConformanceCheck& check : check_plugin(file, nullptr)) {
    if (!check.passed) return check.check;
  }
  return "";
}

TEST(ConformanceTest, GoodPluginsPassEveryCheck) {
  for (const char* file : {"rope/good.so", "dataset/words.so", "task/repeat.so"}) {
    const auto checks = check_plugin(test_plugins() / file, nullptr);
    EXPECT_GE(checks.size(), 6U) << file;
    for (const ConformanceCheck& check : checks) {
      EXPECT_TRUE(check.passed) << file << ": " << check.check << ": " << check.detail;
    }
    EXPECT_TRUE(conformance_json(checks)["passed"].get<bool>());
  }
}

TEST(ConformanceTest, EachFaultFailsTheCheckItBreaks) {
  EXPECT_THAT(first_failure(broken("nan")), HasSubstr("frequencies"));
  EXPECT_THAT(first_failure(broken("count")), HasSubstr("frequencies"));
  EXPECT_THAT(first_failure(broken("overrun")), HasSubstr("frequencies"));
  EXPECT_THAT(first_failure(broken("random")), HasSubstr("frequencies"));
  EXPECT_THAT(first_failure(broken("positions")), HasSubstr("positions"));
  EXPECT_THAT(first_failure(broken("magnitude")), HasSubstr("magnitudes"));
  EXPECT_THAT(first_failure(broken("claim")), HasSubstr("plain at scale 1"));
  EXPECT_THAT(first_failure(broken("short_table")), HasSubstr("table of functions"));
  EXPECT_THAT(first_failure(broken("any_extension")), HasSubstr("unknown extensions"));
  EXPECT_THAT(first_failure(broken("init")), HasSubstr("loads"));
}

// These end the process when they are loaded.
TEST(ConformanceTest, APluginWithABadEntryIsNotLoaded) {
  for (const char* fault : {"major", "minor", "magic", "size"}) {
    const auto checks = check_plugin(entry(fault), nullptr);
    ASSERT_EQ(checks.size(), 1U) << fault;
    EXPECT_FALSE(checks[0].passed);
    EXPECT_THAT(checks[0].check, HasSubstr("without running"));
    EXPECT_FALSE(conformance_json(checks)["passed"].get<bool>());
  }
}

}  // namespace
}  // namespace okapi::test
