// What a plugin declares about its parameters, and the check of what a user gives against it.
//
//   const ParamSchema schema = ParamSchema::parse(entry.parameters, "rope.yarn");
//   auto params = schema.resolve({{"scale", 4}}, &facts);
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/plugin_host/param_values.h"

namespace okapi {

/// Facts of a model that parameters may default to. 0: not known.
struct ParamFacts {
  double base = 0;
  int64_t trained_length = 0;
  int64_t target_length = 0;
  int64_t head_dim = 0;
  int64_t rotary_dim = 0;

  bool operator==(const ParamFacts&) const = default;
};

struct ParamSpec {
  std::string name;
  int32_t type = OKAPI_PARAM_NUMBER;
  std::string help;
  bool is_required = false;
  std::string from_model;  ///< "" or the fact that is the default
  std::optional<Json> default_value;
  std::optional<double> min, max, above, below;
  std::vector<std::string> choices;

  /// "number of at least 1", "one of pairs, rotations": what a message says was wanted.
  std::string wanted() const;
};

/// Names and texts as a rope spec gives them, in its order.
using ParamTexts = std::vector<std::pair<std::string, std::string>>;

class ParamSchema {
 public:
  ParamSchema() = default;

  /// Throws invalid_argument when the declaration breaks the rules of <okapi/plugin/plugin.h>.
  /// `owner` is who declares it, "rope.yarn": the component of errors here and in the other
  /// functions.
  static ParamSchema parse(std::string_view json, std::string owner);

  const std::vector<ParamSpec>& specs() const { return specs_; }
  const std::string& owner() const { return owner_; }
  const ParamSpec* find(std::string_view name) const;
  std::vector<std::string> names() const;

  /// Texts to values of the declared types; "auto" leaves a from_model parameter to the model.
  /// Throws on an unknown, repeated or malformed one.
  Json from_texts(const ParamTexts& texts) const;

  /// Checks a JSON object of what was given and fills in the rest. `facts` may be null where there
  /// is no model. Throws invalid_argument naming the parameter, what was wanted and what was found.
  std::shared_ptr<const ParamValues> resolve(const Json& given, const ParamFacts* facts) const;

  /// True when a value that was not given follows the declared length.
  bool follows_length(const Json& given) const;

  /// As declared, for people and programs.
  Json json() const;

 private:
  ParamValue checked(const ParamSpec& spec, const Json& value, int32_t source) const;
  void refuse_unknown(const Json& given) const;
  /// The model's, unless one was given. What a ratio of lengths is measured against.
  int64_t trained_length_in_force(const Json& given, const ParamFacts& facts) const;

  std::string owner_;
  std::vector<ParamSpec> specs_;
};

}  // namespace okapi
