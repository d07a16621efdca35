#include "runtime/device/backend_loader.h"

#include <gmock/gmock.h>

#include <fstream>

#include "runtime/base/error.h"
#include "runtime/device/build_id.h"

namespace okapi {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const Logger& quiet() {
  static const Logger kLogger([](const LogRecord&) {}, LogLevel::error);
  return kLogger;
}

const std::filesystem::path kBackends = std::string(OKAPI_BUILD_LIB) + "/okapi/backends";

Error open_error(const std::string& name, const std::vector<std::filesystem::path>& directories,
                 const BackendOptions& options = {}) {
  try {
    open_backend(name, options, directories, quiet());
  } catch (const Error& e) {
    return e;
  }
  return Error(Code::ok, "opened");
}

TEST(BackendLoaderTest, OpensTheCpuByName) {
  const auto backend = open_backend("cpu", {}, {"/nonexistent", kBackends}, quiet());
  EXPECT_EQ(backend->name(), "cpu");
}

TEST(BackendLoaderTest, ListsAllItTriedForAnUnknownName) {
  const Error error = open_error("abacus", {"/nonexistent/one", "/nonexistent/two"});
  EXPECT_EQ(error.code(), Code::not_found);
  EXPECT_THAT(error.message(),
              AllOf(HasSubstr("abacus"), HasSubstr("/nonexistent/one/okapi_backend_abacus.so"),
                    HasSubstr("/nonexistent/two/okapi_backend_abacus.so")));
  EXPECT_THAT(open_error("cpu", {}).message(), HasSubstr("no directory"));
}

TEST(BackendLoaderTest, RefusesANameThatIsAPath) {
  for (const char* const name : {"", "../cpu", "cpu.so", "CPU", "a b"}) {
    EXPECT_EQ(open_error(name, {kBackends}).code(), Code::invalid_argument) << name;
  }
}

// okapi_backend_stranger.so, built beside this test, differs in nothing but its build id.
TEST(BackendLoaderTest, RefusesAModuleOfAnotherBuild) {
  const Error error = open_error("stranger", {OKAPI_STRANGER_DIR});
  EXPECT_EQ(error.code(), Code::failed_precondition);
  EXPECT_THAT(error.message(), AllOf(HasSubstr("okapi-of-another-day"), HasSubstr(kBuildId)));
}

TEST(BackendLoaderTest, RefusesAFileThatIsNoModule) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / "okapi_no_module";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "okapi_backend_text.so") << "not a library";
  EXPECT_EQ(open_error("text", {folder}).code(), Code::unavailable);
}

TEST(BackendLoaderTest, PassesOnWhatTheBackendRefuses) {
  BackendOptions options;
  options.variant = "quantum";
  EXPECT_THAT(open_error("cpu", {kBackends}, options).message(),
              AllOf(HasSubstr("quantum"), HasSubstr("baseline")));
  options = {};
  options.n_threads = -1;
  EXPECT_THAT(open_error("cpu", {kBackends}, options).message(), HasSubstr("n_threads"));
}

}  // namespace
}  // namespace okapi
