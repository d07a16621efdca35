// The lines plugins as a runtime would open them, with the savanna models' tokenizer, and without
// any model or backend.
#pragma once

#include <memory>
#include <string>

#include "runtime/evaluation/bound_task.h"
#include "runtime/plugin_host/plugin_host.h"
#include "runtime/tokenizer/tokenizer.h"

namespace okapi {

inline const PluginHost& lines_host() {
  static const std::shared_ptr<PluginHost> kHost =
      PluginHost::create({.paths = {OKAPI_BUILD_LIB "/okapi/plugins"}, .uses_environment = false});
  return *kHost;
}

inline std::shared_ptr<const Tokenizer> savanna_tokenizer() {
  static const std::shared_ptr<const Tokenizer> kTokenizer = Tokenizer::open(
      OKAPI_TEST_DATA "/tokenizer/savanna.model", {OKAPI_BUILD_LIB "/okapi/tokenizers"});
  return kTokenizer;
}

inline std::shared_ptr<const Tokenizer> small_tokenizer() {
  static const std::shared_ptr<const Tokenizer> kTokenizer = Tokenizer::open(
      OKAPI_TEST_DATA "/tokenizer/small.model", {OKAPI_BUILD_LIB "/okapi/tokenizers"});
  return kTokenizer;
}

inline std::shared_ptr<const Dataset> lines_dataset(
    const Json& parameters, uint64_t seed = 1,
    std::shared_ptr<const Tokenizer> tokenizer = nullptr) {
  return lines_host().dataset("lines")->open(
      parameters, seed, tokenizer == nullptr ? nullptr : tokenizer_functions(tokenizer));
}

inline std::shared_ptr<const BoundTask> lines_task(
    const Json& parameters, uint64_t seed = 1, std::shared_ptr<const Dataset> dataset = nullptr) {
  return BoundTask::open(lines_host(), "lines", parameters, seed, savanna_tokenizer(),
                         std::move(dataset));
}

}  // namespace okapi
