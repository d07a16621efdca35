#include <okapi/task.h>

#include "tests/capi/fixture.h"

using namespace okapi::test;

namespace {

class TaskTest : public testing::Test {
 protected:
  TaskTest() {
    tokenizer_ = create<TokenizerPtr>([&](okapi_tokenizer** out, okapi_error** error) {
      return okapi_tokenizer_open(runtime_.get(), OKAPI_TEST_DATA "/tokenizer/savanna.model", out,
                                  error);
    });
  }

  TaskPtr open(const char* parameters, okapi_dataset* dataset = nullptr) {
    return create<TaskPtr>([&](okapi_task** out, okapi_error** error) {
      return okapi_task_open(runtime_.get(), "lines", parameters, 1, tokenizer_.get(), dataset, out,
                             error);
    });
  }

  static okapi::Json item(const TaskPtr& task, int64_t index) {
    return json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
      return okapi_task_item(task.get(), index, buffer, capacity, needed, error);
    });
  }

  static okapi::Json score(const TaskPtr& task, int64_t index, const std::string& output) {
    return json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
      return okapi_task_score(task.get(), index, output.c_str(), buffer, capacity, needed, error);
    });
  }

  RuntimePtr runtime_ = make_runtime();
  TokenizerPtr tokenizer_;
};

constexpr const char* kParameters = R"({"style": "compact", "length": 128, "n_samples": 3})";

}  // namespace

TEST_F(TaskTest, ItemsAskForWhatIsScored) {
  const TaskPtr task = open(kParameters);
  EXPECT_EQ(okapi_task_count(task.get()), 3);
  const okapi::Json first = item(task, 0);
  EXPECT_LE(first["n_tokens"], 128);
  EXPECT_GE(first["max_tokens"], 1);
  EXPECT_NE(first["prompt"], "");

  const std::string expected = first["expected"].is_string()
                                   ? first["expected"].get<std::string>()
                                   : std::to_string(first["expected"].get<int64_t>());
  EXPECT_EQ(score(task, 0, expected + ">")["correct"], true);
  EXPECT_EQ(score(task, 0, expected + "1>")["correct"], false);
  EXPECT_EQ(score(task, 0, "no number")["correct"], false);
}

TEST_F(TaskTest, PromptsMayBeGiven) {
  const TaskPtr task = create<TaskPtr>([&](okapi_task** out, okapi_error** error) {
    return okapi_task_open_prompts(runtime_.get(), "lines", nullptr,
                                   R"([{"prompt": "line a: 17\nline a:", "expected": 17}])",
                                   tokenizer_.get(), out, error);
  });
  EXPECT_EQ(okapi_task_count(task.get()), 1);
  EXPECT_EQ(item(task, 0)["prompt"], "line a: 17\nline a:");
  EXPECT_EQ(score(task, 0, " 17")["correct"], true);
  EXPECT_EQ(score(task, 0, " 71")["correct"], false);
}

TEST_F(TaskTest, ADatasetMayBeGiven) {
  const DatasetPtr dataset = create<DatasetPtr>([&](okapi_dataset** out, okapi_error** error) {
    return okapi_dataset_open(runtime_.get(), "lines", R"({"n_lines": 4, "n_samples": 2})", 3, out,
                              error);
  });
  const okapi::Json record =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_dataset_record(dataset.get(), 1, buffer, capacity, needed, error);
      });
  const TaskPtr task = open("{}", dataset.get());
  EXPECT_EQ(okapi_task_count(task.get()), 2);
  EXPECT_EQ(item(task, 1)["prompt"], record["prompt"]);
}

TEST_F(TaskTest, PastTheEndIsOutOfRange) {
  const TaskPtr task = open(kParameters);
  for (const int64_t index : {int64_t{3}, int64_t{-1}, INT64_MAX}) {
    EXPECT_EQ(okapi_task_item(task.get(), index, nullptr, 0, nullptr, nullptr), OKAPI_OUT_OF_RANGE);
    EXPECT_EQ(okapi_task_score(task.get(), index, "1", nullptr, 0, nullptr, nullptr),
              OKAPI_OUT_OF_RANGE);
  }
}

TEST_F(TaskTest, WrongNamesAndParametersAreNamed) {
  const auto try_open = [&](const char* name, const char* parameters) {
    okapi_task* task = nullptr;
    Outcome outcome = call([&](okapi_error** error) {
      return okapi_task_open(runtime_.get(), name, parameters, 1, tokenizer_.get(), nullptr, &task,
                             error);
    });
    EXPECT_EQ(task, nullptr);
    return outcome;
  };
  EXPECT_EQ(try_open("no_such_task", nullptr).status, OKAPI_NOT_FOUND);
  const Outcome key = try_open("lines", R"({"lenght": 3})");
  EXPECT_EQ(key.status, OKAPI_INVALID_ARGUMENT);
  EXPECT_THAT(key.message(), testing::HasSubstr("lenght"));
  expect_refusal(try_open("lines", "3"), OKAPI_INVALID_ARGUMENT, "parameters");

  const auto try_prompts = [&](const char* prompts) {
    okapi_task* task = nullptr;
    Outcome outcome = call([&](okapi_error** error) {
      return okapi_task_open_prompts(runtime_.get(), "lines", nullptr, prompts, tokenizer_.get(),
                                     &task, error);
    });
    EXPECT_EQ(task, nullptr);
    return outcome;
  };
  expect_refusal(try_prompts("{"), OKAPI_INVALID_ARGUMENT, "prompts_json");
  EXPECT_EQ(try_prompts("[3]").status, OKAPI_INVALID_ARGUMENT);
  EXPECT_EQ(try_prompts("{}").status, OKAPI_INVALID_ARGUMENT);
}

TEST_F(TaskTest, DescribesItselfAndOutlivesWhatItWasMadeOf) {
  TaskPtr first = open(kParameters);
  const TaskPtr second(okapi_task_ref(first.get()));
  first.reset();
  tokenizer_.reset();
  runtime_.reset();
  const okapi::Json json =
      json_of([&](char* buffer, size_t capacity, size_t* needed, okapi_error** error) {
        return okapi_task_describe(second.get(), buffer, capacity, needed, error);
      });
  EXPECT_EQ(json["seed"], 1);
  EXPECT_THAT(json.dump(), testing::HasSubstr("correct"));
  EXPECT_LE(item(second, 2)["n_tokens"], 128);
}
