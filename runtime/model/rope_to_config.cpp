#include "runtime/model/rope_to_config.h"

#include <string>
#include <utility>

#include "runtime/model/rotary/rope.h"

namespace okapi {

namespace {

/// What config.json says: a base, and a scheme in transformers' words or ours (null: none).
struct Written {
  double base = 0;
  Json scheme;
};

Written written(const Rope& rope) {
  const Json described = rope.json();
  const Json& schemes = described["schemes"];
  const RopeGeometry& geometry = rope.model_geometry();
  if (schemes.size() == 1) {
    const Json& parameters = schemes[0]["parameters"];
    const std::string id = schemes[0]["id"];
    if (id == "org.okapi.rope.plain") return {parameters["base"]["value"], nullptr};
    // A scale that follows the declared length has no place in a configuration of transformers.
    if (id == "org.okapi.rope.linear" && rope.canonical().find("auto") == std::string::npos) {
      return {geometry.base, {{"rope_type", "linear"}, {"factor", parameters["scale"]["value"]}}};
    }
  }
  return {geometry.base,
          {{"rope_type", "okapi"},
           {"spec", rope.canonical()},
           {"original_max_position_embeddings", geometry.trained_length}}};
}

}  // namespace

Json config_with_rope(Json config, const Rope& rope) {
  const Written rotary = written(rope);
  const bool is_new_spelling = config.contains("rope_parameters");
  const bool is_ours = rotary.scheme.is_object() && rotary.scheme["rope_type"] == "okapi";
  const bool says_base_beside = config.contains("rope_theta") || !is_new_spelling;
  config.erase("rope_scaling");
  config.erase("rope_parameters");
  if (says_base_beside) config["rope_theta"] = rotary.base;
  if (is_new_spelling || is_ours) {
    Json parameters = rotary.scheme.is_null() ? Json{{"rope_type", "default"}} : rotary.scheme;
    parameters["rope_theta"] = rotary.base;
    config["rope_parameters"] = std::move(parameters);
  } else if (!rotary.scheme.is_null()) {
    config["rope_scaling"] = rotary.scheme;
  }
  return config;
}

}  // namespace okapi
