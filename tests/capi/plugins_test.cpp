#include <okapi/plugins.h>

#include <set>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

constexpr const char* kYarn = OKAPI_BUILD_LIB "/okapi/plugins/rope/yarn.so";

okapi::Json plugins_of(const okapi_runtime* runtime) {
  return json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
    return okapi_runtime_plugins(runtime, buffer, capacity, needed, error);
  });
}

std::set<std::string> names_of(const okapi_runtime* runtime) {
  std::set<std::string> names;
  const okapi::Json found = plugins_of(runtime);
  for (const okapi::Json& plugin : found.at("plugins")) names.insert(plugin["name"]);
  return names;
}

Outcome add(okapi_runtime* runtime, const std::string& path) {
  return call(
      [&](okapi_error** error) { return okapi_runtime_add_plugin(runtime, path.c_str(), error); });
}

/// A runtime whose module folder has the backends and no plugins.
RuntimePtr make_bare_runtime(const TemporaryFolder& folder) {
  std::filesystem::create_directory_symlink(OKAPI_BUILD_LIB "/okapi/backends",
                                            folder.path() / "backends");
  return make_runtime(
      [&](okapi_runtime_options& options) { options.module_path = folder.path().c_str(); });
}

}  // namespace

TEST(PluginsTest, ThoseOfTheBuildAreFound) {
  const RuntimePtr runtime = make_runtime();
  const std::set<std::string> names = names_of(runtime.get());
  for (const char* name : {"plain", "linear", "yarn", "lines"})
    EXPECT_TRUE(names.contains(name)) << name;
}

TEST(PluginsTest, AFileMayBeAddedOnce) {
  const TemporaryFolder folder;
  const RuntimePtr runtime = make_bare_runtime(folder);
  EXPECT_FALSE(names_of(runtime.get()).contains("yarn"));
  EXPECT_EQ(add(runtime.get(), kYarn).status, OKAPI_OK);
  EXPECT_TRUE(names_of(runtime.get()).contains("yarn"));
  EXPECT_EQ(add(runtime.get(), kYarn).status, OKAPI_ALREADY_EXISTS);
}

TEST(PluginsTest, WhatIsNoPluginIsRefusedWithTheFile) {
  const TemporaryFolder folder;
  const RuntimePtr runtime = make_runtime();
  EXPECT_EQ(add(runtime.get(), "/no/such/plugin.so").status, OKAPI_NOT_FOUND);
  const std::string text = folder.write("text.so", "not a library").string();
  const Outcome outcome = add(runtime.get(), text);
  EXPECT_EQ(outcome.status, OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(std::string(okapi_error_file(outcome.error.get())), text);
}

TEST(PluginsTest, InfoReadsTheFileAlone) {
  const okapi::Json info =
      json_of([](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_plugin_info(kYarn, buffer, capacity, needed, error);
      });
  EXPECT_EQ(info["name"], "yarn");
  EXPECT_THAT(info.dump(), testing::HasSubstr("beta_fast"));
  EXPECT_EQ(okapi_plugin_info("/no/such/plugin.so", nullptr, 0, nullptr, nullptr), OKAPI_NOT_FOUND);
}

TEST(PluginsTest, CheckTellsEachCheck) {
  const RuntimePtr runtime = make_runtime();
  const auto check = [&](const std::string& path) {
    return json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
      return okapi_plugin_check(runtime.get(), path.c_str(), buffer, capacity, needed, error);
    });
  };
  const okapi::Json good = check(kYarn);
  EXPECT_EQ(good["passed"], true) << good;
  EXPECT_GE(good["checks"].size(), 3U);

  const TemporaryFolder folder;
  const okapi::Json bad = check(folder.write("text.so", "not a library").string());
  EXPECT_EQ(bad["passed"], false) << "failed checks are an answer, not an error";

  EXPECT_EQ(okapi_plugin_check(runtime.get(), "/no/such.so", nullptr, 0, nullptr, nullptr),
            OKAPI_NOT_FOUND);
}
