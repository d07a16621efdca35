#include "runtime/plugin_host/plugin_host.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "tests/plugin_host/test_plugins.h"
#include "tests/support/plugin_harness.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::shared_ptr<PluginHost> host_over(std::vector<fs::path> paths, bool uses_environment = false) {
  return PluginHost::create({.paths = std::move(paths),
                             .uses_environment = uses_environment,
                             .install_folder = {},
                             .logger = nullptr});
}

std::vector<std::string> names(const PluginHost& host) {
  std::vector<std::string> found;
  for (const PluginMetadata& plugin : host.plugins()) found.push_back(plugin.name);
  return found;
}

std::string reason(const PluginHost& host, const fs::path& path) {
  for (const RefusedPlugin& refused : host.refused()) {
    if (refused.path == path) return refused.reason;
  }
  return "(not refused)";
}

/// Sets OKAPI_PLUGIN_PATH, and the current directory, for one test.
class Surroundings {
 public:
  Surroundings() : folder_(fs::current_path()) {}
  ~Surroundings() {
    ::unsetenv("OKAPI_PLUGIN_PATH");
    fs::current_path(folder_);
  }
  static void set_path(const std::string& value) {
    ::setenv("OKAPI_PLUGIN_PATH", value.c_str(), 1);
  }

 private:
  fs::path folder_;
};

TEST(PluginHostTest, FindsPluginsOfAllKindsWithoutRunningThem) {
  // Among them are some that end the process when they run.
  const auto host = host_over({test_plugins(), test_plugins() / "entries"});
  EXPECT_THAT(names(*host), testing::UnorderedElementsAre("good", "words", "repeat", "trap"));
}

TEST(PluginHostTest, SearchesFilesAndFoldersInTheOrderGiven) {
  EXPECT_EQ(names(*host_over({test_plugins() / "task", good()})),
            (std::vector<std::string>{"repeat", "good"}));
}

TEST(PluginHostTest, FirstOfTwoWithOneIdHidesTheOther) {
  const TemporaryFolder folder;
  fs::copy_file(good(), folder.path() / "copy.so");
  const auto host = host_over({folder.path(), good()});
  ASSERT_EQ(host->plugins().size(), 1U);
  EXPECT_EQ(host->plugins()[0].path, folder.path() / "copy.so");
  EXPECT_THAT(reason(*host, good()),
              HasSubstr("hidden by " + (folder.path() / "copy.so").string()));
}

TEST(PluginHostTest, FirstOfTwoWithOneNameIsUsedAndTheOtherTold) {
  const std::string id = read_plugin_metadata(good()).id;
  const std::string other = "x" + id.substr(1);
  std::string bytes = read_file(good(), size_t{1} << 26);
  for (size_t at = bytes.find(id); at != std::string::npos; at = bytes.find(id, at)) {
    bytes.replace(at, id.size(), other);
  }
  const TemporaryFolder folder;
  const fs::path changed = folder.write("changed.so", bytes);

  std::vector<std::string> told;
  const auto logger = std::make_shared<const Logger>(
      [&](const LogRecord& record) { told.push_back(record.message); }, LogLevel::warn);
  const auto host = PluginHost::create({.paths = {changed, good()},
                                        .uses_environment = false,
                                        .install_folder = {},
                                        .logger = logger});
  EXPECT_EQ(host->rope("good")->identity().id, other);
  EXPECT_EQ(host->rope(id)->identity().id, id);
  EXPECT_EQ(told, std::vector<std::string>{"two rope plugins are named good: " + other +
                                           " is used, the other one by its id, " + id});
}

TEST(PluginHostTest, TellsEveryPlaceItTriedAndWhyItFailed) {
  const TemporaryFolder folder;
  folder.write("text.so", "no plugin");
  folder.write("notes.txt", "not looked at");
  fs::create_symlink(folder.path() / "loop", folder.path() / "loop");
  const auto host =
      host_over({"/no/such/folder", folder.path(), folder.path() / "loop", "", entry("major")});
  EXPECT_EQ(reason(*host, "/no/such/folder"), "does not exist");
  EXPECT_THAT(reason(*host, folder.path() / "text.so"), HasSubstr("not an ELF file"));
  EXPECT_THAT(reason(*host, folder.path() / "loop"), HasSubstr("cannot be examined"));
  EXPECT_THAT(reason(*host, entry("major")), HasSubstr("needs plugin ABI 7.1"));
  EXPECT_EQ(reason(*host, ""), "an empty path");
  EXPECT_EQ(host->refused().size(), 5U);

  const Error error = error_of([&] { host->rope("good"); });
  EXPECT_EQ(error.code(), Code::not_found);
  EXPECT_THAT(error.message(), HasSubstr("no rope plugin named good; found: none"));
  EXPECT_THAT(error.message(), HasSubstr("text.so (not an ELF file)"));
}

TEST(PluginHostTest, LivesWithAFolderItMayNotRead) {
  const TemporaryFolder folder;
  fs::permissions(folder.path(), fs::perms::none);
  // Root may read every folder: it becomes nobody for a moment.
  constexpr uid_t kNobody = 65534;
  const uid_t user = ::geteuid();
  ASSERT_EQ(user == 0 ? ::seteuid(kNobody) : 0, 0);
  const auto host = host_over({folder.path()});
  ASSERT_EQ(::seteuid(user), 0);
  fs::permissions(folder.path(), fs::perms::owner_all);
  EXPECT_THAT(reason(*host, folder.path()), HasSubstr("cannot be read"));
}

TEST(PluginHostTest, EnvironmentComesAfterPathsAndBeforeTheInstallation) {
  const Surroundings surroundings;
  const TemporaryFolder folder;
  fs::copy_file(good(), folder.path() / "good.so");
  Surroundings::set_path(folder.path());
  EXPECT_EQ(host_over({}, true)->plugins()[0].path, folder.path() / "good.so");
  EXPECT_EQ(host_over({good()}, true)->plugins()[0].path, good());
  const auto installed = PluginHost::create(
      {.paths = {}, .uses_environment = true, .install_folder = test_plugins(), .logger = nullptr});
  EXPECT_EQ(installed->plugins()[0].path, folder.path() / "good.so");
}

TEST(PluginHostTest, NeverSearchesTheCurrentDirectory) {
  const Surroundings surroundings;
  const TemporaryFolder folder;
  fs::copy_file(good(), folder.path() / "good.so");
  fs::create_directory(folder.path() / "rope");
  fs::copy_file(good(), folder.path() / "rope" / "good.so");
  fs::current_path(folder.path());
  for (const char* path : {"", ":", "::", ".", "./", "rope", ":rope:"}) {
    Surroundings::set_path(path);
    EXPECT_TRUE(host_over({}, true)->plugins().empty()) << path;
  }
  EXPECT_THAT(reason(*host_over({}, true), "rope"), HasSubstr("absolute folders only"));
}

TEST(PluginHostTest, AFileFoundByARelativePathLoadsAfterTheDirectoryChanged) {
  const Surroundings surroundings;
  fs::current_path(test_plugins());
  const auto host = host_over({"rope/good.so"});
  fs::current_path("/");
  EXPECT_EQ(host->rope("good")->identity().file, good());
}

TEST(PluginHostTest, LoadsOnceAndFindsByShortNameAndById) {
  const auto host = host_over({test_plugins()});
  const auto scheme = host->rope("good");
  EXPECT_EQ(host->rope("org.example.rope.good"), scheme);
  EXPECT_EQ(scheme->identity().version, "1.0");
  EXPECT_EQ(error_of([&] { host->dataset("good"); }).code(), Code::not_found);
  EXPECT_EQ(error_of([&] { host->rope("words"); }).code(), Code::not_found);
}

TEST(PluginHostTest, SchemesOutliveTheirHost) {
  std::shared_ptr<const Rope> rope;
  {
    const auto host = host_over({good()});
    rope = Rope::parse("good", *host, reference_geometry());
  }
  EXPECT_EQ(RopeTable::evaluate(*rope, reference_geometry()).inv_freq[0], 0.5);
}

TEST(PluginHostTest, AddsAFileUnlessItsNameIsTaken) {
  const auto host = host_over({});
  host->add_file(good());
  EXPECT_EQ(names(*host), std::vector<std::string>{"good"});
  EXPECT_EQ(error_of([&] { host->add_file(good()); }).code(), Code::already_exists);
  EXPECT_EQ(error_of([&] { host->add_file(entry("minor")); }).code(), Code::failed_precondition);
  EXPECT_EQ(error_of([&] { host->add_file("/no/such.so"); }).code(), Code::not_found);
}

TEST(PluginHostTest, AnInitThatFailsIsToldWithItsReason) {
  const auto host = host_over({broken("init")});
  const Error error = error_of([&] { host->rope("fault_init"); });
  EXPECT_EQ(error.code(), Code::failed_precondition);
  EXPECT_EQ(error.message(), "rope.fault_init: the moon is in the wrong phase");
}

TEST(PluginHostTest, AFileThatChangedSinceItWasFoundIsRefused) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "x.so";
  fs::copy_file(good(), file);
  const auto host = host_over({file});
  fs::remove(file);
  fs::copy_file(broken("nan"), file);
  const Error error = error_of([&] { host->rope("good"); });
  EXPECT_EQ(error.code(), Code::failed_precondition);
  EXPECT_THAT(error.message(), HasSubstr("org.example.rope.fault_nan"));

  fs::remove(file);
  EXPECT_EQ(error_of([&] { host->rope("good"); }).code(), Code::not_found);
}

TEST(PluginHostTest, DescribesWhatItFoundAsJson) {
  const auto host = host_over({good(), "/no/such/folder"});
  const Json json = host->json();
  EXPECT_EQ(json["plugins"][0]["id"], "org.example.rope.good");
  EXPECT_EQ(json["plugins"][0]["file"], good().string());
  EXPECT_EQ(json["refused"][0], (Json{{"file", "/no/such/folder"}, {"reason", "does not exist"}}));
}

// ---- schemes registered in process

int32_t halve(void* instance, const okapi_rope_geometry*, okapi_rope_table_v1* table,
              const okapi_error_sink*) {
  ++*static_cast<int*>(instance);
  for (int32_t i = 0; i < table->n_pairs; ++i) table->inv_freq[i] /= 2;
  table->n_written = table->n_pairs;
  return OKAPI_OK;
}

okapi_rope_scheme_v1 halving() {
  okapi_rope_scheme_v1 scheme{};
  scheme.struct_size = sizeof scheme;
  scheme.table = halve;
  return scheme;
}

TEST(RegisteredSchemeTest, StandsBesidePluginsAndTakesPartInLists) {
  const auto host = make_plugin_host();
  int n_calls = 0;
  host->register_rope("half", R"([{"name":"x","type":"number","default":3}])", halving(), &n_calls,
                      nullptr);
  const auto rope = Rope::parse("linear:scale=4 | half", *host, reference_geometry());
  EXPECT_EQ(rope->canonical(), "linear:scale=4 | half:x=3");
  EXPECT_EQ(RopeTable::evaluate(*rope, reference_geometry()).inv_freq[0], 0.125);
  EXPECT_GT(n_calls, 0);
  EXPECT_THAT(names(*host), testing::Not(testing::Contains("half"))) << "plugins() are files";
  EXPECT_THAT(host->json().dump(), HasSubstr("registered in process"));
}

TEST(RegisteredSchemeTest, BelongsToItsHostAlone) {
  const auto one = make_plugin_host();
  const auto two = make_plugin_host();
  int n_calls = 0;
  one->register_rope("half", "", halving(), &n_calls, nullptr);
  EXPECT_NE(one->rope("half"), nullptr);
  EXPECT_EQ(error_of([&] { two->rope("half"); }).code(), Code::not_found);
  EXPECT_NE(two->rope("yarn"), one->rope("yarn"));
}

struct Owned {
  int n_calls = 0;
  int* n_destroyed;
};

TEST(RegisteredSchemeTest, UserDataGoesOnceWithHostAndLastRope) {
  int n_destroyed = 0;
  Owned owned{0, &n_destroyed};
  const auto destroy = [](void* data) { ++*static_cast<Owned*>(data)->n_destroyed; };
  std::shared_ptr<const Rope> rope;
  {
    const auto host = make_plugin_host();
    host->register_rope("half", "", halving(), &owned, destroy);
    rope = Rope::parse("half", *host, reference_geometry());
  }
  EXPECT_EQ(n_destroyed, 0);
  EXPECT_EQ(RopeTable::evaluate(*rope, reference_geometry()).inv_freq[0], 0.5);
  rope.reset();
  EXPECT_EQ(n_destroyed, 1);
}

TEST(RegisteredSchemeTest, UserDataStaysTheCallersWhenRegistrationFails) {
  int n_destroyed = 0;
  Owned owned{0, &n_destroyed};
  const auto destroy = [](void* data) { ++*static_cast<Owned*>(data)->n_destroyed; };
  {
    const auto host = make_plugin_host();
    const auto code = [&](const char* name, const char* params,
                          const okapi_rope_scheme_v1& scheme) {
      return error_of([&] { host->register_rope(name, params, scheme, &owned, destroy); }).code();
    };
    EXPECT_EQ(code("yarn", "", halving()), Code::already_exists);
    EXPECT_EQ(code("a b", "", halving()), Code::invalid_argument);
    EXPECT_EQ(code("", "", halving()), Code::invalid_argument);
    EXPECT_NE(code("half", "[", halving()), Code::ok);
    EXPECT_EQ(code("half", "", okapi_rope_scheme_v1{}), Code::invalid_argument);
    EXPECT_EQ(n_destroyed, 0);
    host->register_rope("half", "", halving(), &owned, destroy);
    EXPECT_EQ(code("half", "", halving()), Code::already_exists);
  }
  EXPECT_EQ(n_destroyed, 1);
}

}  // namespace
}  // namespace okapi::test
