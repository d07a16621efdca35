// What `okapi bench` measures on one model.
#pragma once

#include <cstdint>
#include <vector>

#include <nlohmann/json.hpp>

#include "capi/lua/c_api.h"

namespace okapi::cli {

class BenchRun {
 public:
  /// Borrows both.
  BenchRun(okapi_runtime* runtime, okapi_model* model, uint64_t seed);

  /// Ceilings, prefill of n_tokens and decode at depth 0, in turns: what slows the machine for a
  /// while slows all of them. The best of n_rounds each.
  nlohmann::ordered_json measure_rates(int64_t n_tokens, int64_t n_rounds);

  /// Decode with so many tokens cached, and the memory that takes. `depths` in ascending order.
  nlohmann::ordered_json measure_depths(const std::vector<int64_t>& depths);

 private:
  std::vector<int32_t> random_tokens(int64_t n) const;
  api::Handle<okapi_session> open_session(int64_t context_length) const;

  okapi_runtime* runtime_;
  okapi_model* model_;
  okapi_model_info info_;
  uint64_t seed_;
};

}  // namespace okapi::cli
