#include <okapi/dataset.h>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

class DatasetTest : public testing::Test {
 protected:
  DatasetPtr open(const char* parameters, uint64_t seed = 1) {
    return create<DatasetPtr>([&](okapi_dataset** out, okapi_error** error) {
      return okapi_dataset_open(runtime_.get(), "lines", parameters, seed, out, error);
    });
  }

  Outcome try_open(const char* name, const char* parameters) {
    okapi_dataset* dataset = nullptr;
    Outcome outcome = call([&](okapi_error** error) {
      return okapi_dataset_open(runtime_.get(), name, parameters, 1, &dataset, error);
    });
    EXPECT_EQ(dataset, nullptr);
    return outcome;
  }

  static std::string record(const DatasetPtr& dataset, int64_t index) {
    return text_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
      return okapi_dataset_record(dataset.get(), index, buffer, capacity, needed, error);
    });
  }

  RuntimePtr runtime_ = make_runtime();
};

}  // namespace

TEST_F(DatasetTest, RecordsAreWhatTheParametersSay) {
  const DatasetPtr dataset = open(R"({"n_lines": 7, "n_samples": 3})");
  EXPECT_EQ(okapi_dataset_count(dataset.get()), 3);
  const okapi::Json first = okapi::Json::parse(record(dataset, 0));
  EXPECT_EQ(first["kind"], "prompt");
  EXPECT_EQ(first["num_lines"], 7);
}

TEST_F(DatasetTest, RecordsDependOnParametersSeedAndIndexAlone) {
  const char* parameters = R"({"n_lines": 5})";
  const DatasetPtr dataset = open(parameters);
  const std::string second = record(dataset, 1);
  EXPECT_NE(record(dataset, 0), second);
  EXPECT_EQ(record(dataset, 1), second) << "in any order";
  EXPECT_EQ(record(open(parameters), 1), second);
  EXPECT_NE(record(open(parameters, 2), 1), second);
}

TEST_F(DatasetTest, PastTheEndIsOutOfRange) {
  const DatasetPtr dataset = open(R"({"n_samples": 3})");
  for (const int64_t index : {int64_t{3}, int64_t{-1}, INT64_MAX}) {
    EXPECT_EQ(okapi_dataset_record(dataset.get(), index, nullptr, 0, nullptr, nullptr),
              OKAPI_OUT_OF_RANGE)
        << index;
  }
}

TEST_F(DatasetTest, NothingGivenIsAllDefaults) {
  EXPECT_EQ(record(open(nullptr), 0), record(open("{}"), 0));
  EXPECT_EQ(record(open(""), 0), record(open("{}"), 0));
}

TEST_F(DatasetTest, FullIdsAreNamesToo) {
  const okapi::Json json =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_dataset_describe(open("{}").get(), buffer, capacity, needed, error);
      });
  const std::string id = json["plugin"]["id"];
  const DatasetPtr dataset = create<DatasetPtr>([&](okapi_dataset** out, okapi_error** error) {
    return okapi_dataset_open(runtime_.get(), id.c_str(), nullptr, 1, out, error);
  });
  EXPECT_EQ(record(dataset, 0), record(open("{}"), 0));
}

TEST_F(DatasetTest, WrongNamesAndParametersAreNamed) {
  const Outcome unknown = try_open("no_such_dataset", nullptr);
  EXPECT_EQ(unknown.status, OKAPI_NOT_FOUND);
  EXPECT_THAT(unknown.message(), testing::HasSubstr("lines"));
  const Outcome key = try_open("lines", R"({"n_line": 3})");
  EXPECT_EQ(key.status, OKAPI_INVALID_ARGUMENT);
  EXPECT_THAT(key.message(), testing::HasSubstr("n_line"));
  EXPECT_EQ(try_open("lines", R"({"n_lines": "many"})").status, OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(try_open("lines", R"({"n_lines": 0})").status, OKAPI_INVALID_ARGUMENT);
  expect_refusal(try_open("lines", "[1]"), OKAPI_INVALID_ARGUMENT, "parameters");
  expect_refusal(try_open("lines", "{"), OKAPI_INVALID_ARGUMENT, "parameters");
  EXPECT_EQ(try_open("lines", R"({"file": "/no/such.jsonl"})").status, OKAPI_NOT_FOUND);
}

TEST_F(DatasetTest, DescribesItselfAndOutlivesTheRuntimesHandle) {
  DatasetPtr first = open(R"({"n_lines": 7})", 9);
  const DatasetPtr second(okapi_dataset_ref(first.get()));
  first.reset();
  runtime_.reset();
  const okapi::Json json =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_dataset_describe(second.get(), buffer, capacity, needed, error);
      });
  EXPECT_EQ(json["seed"], 9);
  EXPECT_EQ(json["plugin"]["name"], "lines");
  EXPECT_THAT(json.dump(), testing::HasSubstr("n_lines"));
}
