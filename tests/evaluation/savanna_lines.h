// The trained model kept in the project, and lines tasks for it.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "runtime/evaluation/evaluation.h"
#include "runtime/plugin_host/plugin_host.h"
#include "tests/support/engine.h"

namespace okapi::test {

inline const std::shared_ptr<Model>& savanna() {
  static const auto kModel =
      Model::load(engine(), OKAPI_SOURCE_DIR "/models/savanna-5m", computed_in_f32());
  return kModel;
}

inline std::shared_ptr<const BoundTask> savanna_task(Json parameters, uint64_t seed = 1) {
  parameters["style"] = "compact";
  return BoundTask::open(engine()->plugin_host(), "lines", parameters, seed, savanna()->tokenizer(),
                         nullptr);
}

inline std::shared_ptr<const BoundTask> savanna_prompts(const Json& prompts) {
  return BoundTask::open_prompts(engine()->plugin_host(), "lines", Json::object(), prompts,
                                 "prompts.json", savanna()->tokenizer());
}

/// Samples without what differs from run to run.
inline Json comparable(const nlohmann::ordered_json& report) {
  Json samples = Json(report["samples"]);
  for (Json& sample : samples) sample.erase("seconds");
  return samples;
}

}  // namespace okapi::test
