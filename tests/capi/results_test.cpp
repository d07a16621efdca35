#include <okapi/results.h>

#include <fstream>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

class ResultsTest : public testing::Test {
 protected:
  Outcome try_open(const std::filesystem::path& path, const okapi_results_options* options,
                   ResultsPtr* out) {
    okapi_results* results = nullptr;
    Outcome outcome = call([&](okapi_error** error) {
      return okapi_results_open(runtime_.get(), path.c_str(), options, &results, error);
    });
    out->reset(results);
    return outcome;
  }

  ResultsPtr open(const std::filesystem::path& path) {
    ResultsPtr results;
    const Outcome outcome = try_open(path, nullptr, &results);
    EXPECT_EQ(outcome.status, OKAPI_OK) << outcome.message();
    return results;
  }

  Outcome try_export(const ResultsPtr& results, int32_t format, const std::string& path) {
    return call([&](okapi_error** error) {
      return okapi_results_export(results.get(), format, path.c_str(), error);
    });
  }

  TemporaryFolder folder_;
  RuntimePtr runtime_ = make_runtime();
};

}  // namespace

TEST_F(ResultsTest, AFileAndItsFolderAreMade) {
  const std::filesystem::path path = folder_.path() / "new" / "results.db";
  const ResultsPtr results = open(path);
  EXPECT_TRUE(std::filesystem::exists(path));
  const okapi::Json summary =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_results_summary(results.get(), buffer, capacity, needed, error);
      });
  EXPECT_EQ(summary, okapi::Json::array());
  const okapi::Json described =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_results_describe(results.get(), buffer, capacity, needed, error);
      });
  EXPECT_EQ(described["path"], path.string());
  EXPECT_EQ(described["read_only"], false);
}

// To SQLite an empty name is a database that is gone when it is closed.
TEST_F(ResultsTest, AnEmptyPathIsRefused) {
  ResultsPtr none;
  const Outcome opened = try_open("", nullptr, &none);
  EXPECT_EQ(opened.status, OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(opened.field(), "path");
  const ResultsPtr results = open(folder_.path() / "results.db");
  const Outcome exported = try_export(results, OKAPI_EXPORT_CSV, "");
  EXPECT_EQ(exported.status, OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(exported.field(), "path");
}

TEST_F(ResultsTest, ReadOnlyNeedsAFile) {
  const std::filesystem::path path = folder_.path() / "results.db";
  okapi_results_options options = OKAPI_RESULTS_OPTIONS_INIT;
  options.read_only = 1;
  ResultsPtr results;
  EXPECT_NE(try_open(path, &options, &results).status, OKAPI_OK);
  EXPECT_EQ(results, nullptr);
  EXPECT_FALSE(std::filesystem::exists(path));
  open(path);
  EXPECT_EQ(try_open(path, &options, &results).status, OKAPI_OK);
}

TEST_F(ResultsTest, SomethingElseIsDataLoss) {
  ResultsPtr results;
  const std::filesystem::path path = folder_.write("no.db", std::string(8192, 'x'));
  EXPECT_EQ(try_open(path, nullptr, &results).status, OKAPI_DATA_LOSS);
}

TEST_F(ResultsTest, ExportsWriteFiles) {
  ResultsPtr results = open(folder_.path() / "results.db");
  runtime_.reset();
  const std::string csv = (folder_.path() / "out.csv").string();
  const std::string json = (folder_.path() / "out.json").string();
  EXPECT_EQ(try_export(results, OKAPI_EXPORT_CSV, csv).status, OKAPI_OK);
  EXPECT_EQ(try_export(results, OKAPI_EXPORT_JSON, json).status, OKAPI_OK);
  std::ifstream file(json);
  EXPECT_EQ(okapi::Json::parse(file), okapi::Json::array());
  EXPECT_GT(std::filesystem::file_size(csv), 0U) << "the header line";

  expect_refusal(try_export(results, 0, csv), OKAPI_INVALID_ARGUMENT, "format");
  expect_refusal(try_export(results, 3, csv), OKAPI_INVALID_ARGUMENT, "format");
  EXPECT_NE(try_export(results, OKAPI_EXPORT_CSV, "/no/such/folder/x.csv").status, OKAPI_OK);
}

TEST_F(ResultsTest, BadOptionsAreNamed) {
  ResultsPtr results;
  okapi_results_options options = OKAPI_RESULTS_OPTIONS_INIT;
  options.read_only = 2;
  expect_refusal(try_open("unused", &options, &results), OKAPI_INVALID_ARGUMENT,
                 "options.read_only");
  options = OKAPI_RESULTS_OPTIONS_INIT;
  options.reserved[0] = 1;
  expect_refusal(try_open("unused", &options, &results), OKAPI_INVALID_ARGUMENT,
                 "options.reserved");
}

TEST_F(ResultsTest, ReferencesAreCounted) {
  ResultsPtr first = open(folder_.path() / "results.db");
  const ResultsPtr second(okapi_results_ref(first.get()));
  first.reset();
  EXPECT_EQ(try_export(second, OKAPI_EXPORT_CSV, (folder_.path() / "x.csv").string()).status,
            OKAPI_OK);
}
