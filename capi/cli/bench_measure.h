// What `okapi bench` measures on one model.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "capi/lua/c_api.h"

namespace okapi::cli {

/// The product [m, k] x [k, n] that is taken for the ceiling.
struct ProductSize {
  int64_t m = 512;
  int64_t n = 4096;
  int64_t k = 4096;
};

/// Where a measurement stands, on a terminal; "" clears it.
void note(const std::string& what);

template <class Body>
double seconds_of(Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

class BenchRun {
 public:
  /// Borrows both.
  BenchRun(okapi_runtime* runtime, okapi_model* model, uint64_t seed, const ProductSize& product);

  /// Ceilings, prefill of n_tokens and decode at depth 0, in turns: what slows the machine for a
  /// while slows all of them. The best of n_rounds each.
  nlohmann::ordered_json measure_rates(int64_t n_tokens, int64_t n_rounds);

  /// Prefills of other lengths against the product's ceiling, measured before, and attention's; the
  /// best of n_rounds each.
  nlohmann::ordered_json measure_prefills(const std::vector<int64_t>& lengths, int64_t n_rounds,
                                          double flops_ceiling);

  /// Decode with so many tokens cached, and the memory that takes. `depths` in ascending order.
  nlohmann::ordered_json measure_depths(const std::vector<int64_t>& depths,
                                        double bandwidth_ceiling);

  /// Decode of n_sessions in one pass, each with `depth` tokens of its own cached.
  nlohmann::ordered_json measure_batch(int64_t n_sessions, int64_t depth, double bandwidth_ceiling);

 private:
  nlohmann::ordered_json prefill_json(int64_t n_tokens, double seconds, double flops_ceiling) const;
  double attention_ceiling(int64_t n_tokens) const;  ///< FLOP/s, measured now
  std::vector<int32_t> random_tokens(int64_t n) const;
  api::Handle<okapi_session> open_session(int64_t context_length) const;

  okapi_runtime* runtime_;
  okapi_model* model_;
  okapi_model_info info_;
  uint64_t seed_;
  ProductSize product_;
};

}  // namespace okapi::cli
