// A run and samples whose numbers are easy to check by hand.
#pragma once

#include <string>

#include "runtime/results/records.h"

namespace okapi {

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
