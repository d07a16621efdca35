#include "runtime/model/rope_to_config.h"

#include <algorithm>
#include <cmath>
#include <optional>
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

/// The values of a scheme's parameters.
class Values {
 public:
  explicit Values(const Json& parameters) : parameters_(parameters) {}

  const Json& operator[](const char* name) const { return parameters_.at(name).at("value"); }
  bool is_given(const char* name) const { return !(*this)[name].is_null(); }

 private:
  const Json& parameters_;
};

Json yarn(const Values& values, int64_t length) {
  // transformers has no key for these two.
  if (values["ramp"] != "pairs" || values["attention_temperature"] != 1) return nullptr;
  Json scheme = {{"rope_type", "yarn"},
                 {"factor", values["scale"]},
                 {"original_max_position_embeddings", length},
                 {"beta_fast", values["beta_fast"]},
                 {"beta_slow", values["beta_slow"]}};
  if (values["round"] == false) scheme["truncate"] = false;
  if (values.is_given("rotation_gain")) scheme["attention_factor"] = values["rotation_gain"];
  return scheme;
}

Json longrope(const Values& values, int64_t length) {
  Json scheme = {{"rope_type", "longrope"},
                 {"factor", values["scale"]},
                 {"original_max_position_embeddings", length},
                 {"short_factor", values["short"]},
                 {"long_factor", values["long"]}};
  if (values.is_given("rotation_gain")) scheme["attention_factor"] = values["rotation_gain"];
  return scheme;
}

Json llama3(const Values& values, int64_t length) {
  return {{"rope_type", "llama3"},
          {"factor", values["scale"]},
          {"original_max_position_embeddings", length},
          {"low_freq_factor", values["low_freq_factor"]},
          {"high_freq_factor", values["high_freq_factor"]}};
}

/// A list of one scheme in transformers' words; nothing if it has none for it. `longest` is
/// config.json's max_position_embeddings.
std::optional<Written> in_words_of_transformers(const Rope& rope, const Json& longest) {
  const Json described = rope.json();
  const Json& schemes = described["schemes"];
  // A scale that follows the declared length has no place in a configuration of transformers.
  if (schemes.size() != 1 || rope.canonical().find("auto") != std::string::npos) {
    return std::nullopt;
  }
  const RopeGeometry& geometry = rope.model_geometry();
  const std::string id = schemes[0]["id"];
  const Values values(schemes[0]["parameters"]);
  if (id == "org.okapi.rope.plain") return Written{values["base"], nullptr};
  if (id == "org.okapi.rope.linear") {
    return Written{geometry.base, {{"rope_type", "linear"}, {"factor", values["scale"]}}};
  }

  Json scheme;
  if (id == "org.okapi.rope.dynamic_ntk" && values["trained_length"] == longest) {
    scheme = {{"rope_type", "dynamic"}, {"factor", values["scale"]}};
  }
  if (id == "org.okapi.rope.yarn") scheme = yarn(values, geometry.trained_length);
  if (id == "org.okapi.rope.longrope") scheme = longrope(values, geometry.trained_length);
  if (id == "org.okapi.rope.llama3") scheme = llama3(values, geometry.trained_length);
  // The length that it starts from becomes the model's own when it is read.
  if (scheme.is_null() || values["trained_length"] != geometry.trained_length) return std::nullopt;
  return Written{values["base"], std::move(scheme)};
}

Written written(const Rope& rope, const Json& longest) {
  if (const auto known = in_words_of_transformers(rope, longest)) return *known;
  const RopeGeometry& geometry = rope.model_geometry();
  return {geometry.base,
          {{"rope_type", "okapi"},
           {"spec", rope.canonical()},
           {"original_max_position_embeddings", geometry.trained_length}}};
}

}  // namespace

Json config_with_rope(Json config, const Rope& rope) {
  const Written rotary = written(rope, config.value("max_position_embeddings", Json()));
  const bool is_new_spelling = config.contains("rope_parameters");
  const bool is_ours = rotary.scheme.is_object() && rotary.scheme["rope_type"] == "okapi";
  const bool says_base_beside = config.contains("rope_theta") || !is_new_spelling;
  config.erase("rope_scaling");
  config.erase("rope_parameters");
  if (says_base_beside) config["rope_theta"] = rotary.base;
  if (rotary.scheme.is_object() && rotary.scheme["rope_type"] == "yarn") {
    // Earlier versions of transformers take the ratio of the two lengths for the factor.
    const double reach = rotary.scheme["factor"].get<double>() *
                         rotary.scheme["original_max_position_embeddings"].get<double>();
    const auto longest = config.value("max_position_embeddings", int64_t{0});
    config["max_position_embeddings"] = std::max<int64_t>(longest, std::llround(reach));
  }
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
