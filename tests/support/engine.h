// A runtime over the modules of the build tree, and small helpers around sessions.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/generation/session.h"
#include "runtime/model/model.h"
#include "runtime/runtime_context.h"

namespace okapi::test {

/// The backend that tests of the engine run on: OKAPI_TEST_BACKEND, by default the CPU.
inline std::string engine_backend() {
  const char* const name = std::getenv("OKAPI_TEST_BACKEND");
  return name != nullptr ? name : "cpu";
}

/// One runtime for a test program: two threads, the backend and plugins of this build. Where the
/// backend that was asked for has no device, the program ends with the code that ctest takes for
/// skipped.
inline const std::shared_ptr<RuntimeContext>& engine() {
  static const std::shared_ptr<RuntimeContext> kContext = [] {
    RuntimeOptions options;
    options.n_threads = 2;
    options.backend = engine_backend();
    options.module_path = OKAPI_BUILD_LIB "/okapi";
    try {
      return RuntimeContext::create(options);
    } catch (const Error& e) {
      if (e.code() != Code::unavailable || engine_backend() == "cpu") throw;
      std::printf("skipped: %s\n", e.message().c_str());
      std::fflush(stdout);
      constexpr int kSkipped = 77;  // EngineTest.cmake tells ctest
      std::_Exit(kSkipped);
    }
  }();
  return kContext;
}

/// For comparisons with what was computed in f32: where a backend computes as its weights are kept,
/// they are widened.
inline ModelOptions computed_in_f32() {
  ModelOptions options;
  if (engine()->backend()->activation_dtype_beside(DType::bf16) != DType::f32) {
    options.dtype = DType::f32;
  }
  return options;
}

/// config.json of a small Llama for Model::random: two layers, grouped-query heads, sharp
/// attention.
inline std::string small_config(int64_t vocab_size = 128, int64_t trained_length = 64) {
  return R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 48,
            "intermediate_size": 112, "num_hidden_layers": 3, "num_attention_heads": 6,
            "num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "initializer_range": 0.25, "hidden_act": "silu", "tie_word_embeddings": false,
            "bos_token_id": 1, "eos_token_id": 2, "vocab_size": )" +
         std::to_string(vocab_size) +
         ", \"max_position_embeddings\": " + std::to_string(trained_length) + "}";
}

inline std::vector<int32_t> random_ids(int64_t n, int64_t vocab_size, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) {
    ids.push_back(static_cast<int32_t>(random.uniform_int(3, vocab_size - 1)));
  }
  return ids;
}

/// Norm of the difference over the norm of what is expected.
inline double relative_error(std::span<const float> found, std::span<const float> expected) {
  if (found.size() != expected.size()) return INFINITY;
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(static_cast<double>(found[i]) - expected[i], 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(difference / norm);
}

/// Logits [n, V] of every token, fed in calls of at most `chunk`.
inline std::vector<float> logits_of_all(Session& session, std::span<const int32_t> ids,
                                        size_t chunk) {
  const auto vocab_size = static_cast<size_t>(session.model()->config().vocab_size);
  std::vector<float> all(ids.size() * vocab_size);
  for (size_t begin = 0; begin < ids.size(); begin += chunk) {
    const size_t n = std::min(chunk, ids.size() - begin);
    const std::span<float> rows = std::span(all).subspan(begin * vocab_size, n * vocab_size);
    if (n == 1) {  // as a program that generates does it
      session.decode(ids[begin]);
      std::copy(session.logits().begin(), session.logits().end(), rows.begin());
    } else {
      session.score(ids.subspan(begin, n), {}, rows);
    }
  }
  return all;
}

}  // namespace okapi::test
