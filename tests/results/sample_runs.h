// A run and samples whose numbers are easy to check by hand.
#pragma once

#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "runtime/results/records.h"

namespace okapi {

/// A folder of this test's own, removed with it.
class ScratchFolder {
 public:
  ScratchFolder() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::temp_directory_path() /
            ("okapi-" + std::string(test->test_suite_name()) + "-" + test->name() + "-" +
             std::to_string(getpid()));
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline Run make_run(const std::string& rope = "yarn:scale=4") {
  Run run;
  run.identity = {
      {"model_sha256", "ab12"}, {"rope", rope}, {"task", {{"id", "lines"}, {"version", "1"}}}};
  run.info = {{"model", "savanna"}};
  run.metrics = {{"correct", "the number is right", Aggregate::rate, 1}};
  run.group_by = {"length", "depth_decile"};
  run.n_items = 4;
  return run;
}

/// Item i of length 256 (i even) or 512 (odd), in the third tenth of depth.
inline Sample make_sample(int64_t item, bool is_correct) {
  Sample sample;
  sample.item = item;
  sample.key = "key/" + std::to_string(item);
  sample.prompt = "line a-b: REGISTER_CONTENT is <7>\nWhat, \"exactly\"? <";
  sample.prompt_ids = {1, 1000 + static_cast<int32_t>(item % 2), 3};
  sample.prompt_sha256 = hash_of_prompt(sample.prompt, sample.prompt_ids);
  sample.attributes = {
      {"length", item % 2 == 0 ? 256 : 512}, {"depth", 0.25}, {"depth_decile", 2}, {"expected", 7}};
  sample.declared_length = 264;
  sample.table_sha256 = "cd34";
  sample.output_ids = {5, 6};
  sample.output = is_correct ? "7>\n" : "8, or \"9\"\n";
  sample.stop_reason = "length";
  sample.parsed = is_correct ? "7" : "8";
  sample.values = {{"correct", is_correct ? 1.0 : 0.0, 1}};
  sample.seconds = 0.5;
  return sample;
}

}  // namespace okapi
