#include "runtime/plugin_host/param_schema.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/number_text.h"
#include "runtime/plugin_host/names.h"

namespace okapi {

namespace {

/// By type, from OKAPI_PARAM_NUMBER on.
constexpr std::array<const char*, 6> kTypes = {"number",  "integer", "string",
                                               "boolean", "enum",    "list"};
constexpr std::array<const char*, 6> kFacts = {"base",     "trained_length", "target_length",
                                               "head_dim", "rotary_dim",     "length_ratio"};
constexpr const char* kAuto = "auto";

int32_t type_of(JsonFields& fields) {
  const std::string name = fields.text("type");
  const auto found = std::find(kTypes.begin(), kTypes.end(), name);
  if (found == kTypes.end()) fields.fail("type", "no such type: " + name);
  return static_cast<int32_t>(found - kTypes.begin()) + OKAPI_PARAM_NUMBER;
}

ParamSpec read_spec(const Json& json, const JsonPlace& place) {
  JsonFields fields(json, place);
  ParamSpec spec;
  spec.name = fields.text("name");
  if (!is_plain_name(spec.name)) fields.fail("name", "not made of letters, digits and _");
  spec.type = type_of(fields);
  spec.help = fields.text_or("help", "");
  spec.is_required = fields.boolean_or("required", false);
  spec.from_model = fields.text_or("from_model", "");
  if (!spec.from_model.empty() &&
      std::find(kFacts.begin(), kFacts.end(), spec.from_model) == kFacts.end()) {
    fields.fail("from_model", "no such fact of a model: " + spec.from_model);
  }
  if (const Json* value = fields.value("default")) spec.default_value = *value;
  spec.min = fields.maybe_number("min");
  spec.max = fields.maybe_number("max");
  spec.above = fields.maybe_number("above");
  spec.below = fields.maybe_number("below");
  if (fields.has("choices")) spec.choices = fields.texts("choices");
  if ((spec.type == OKAPI_PARAM_ENUM) == spec.choices.empty()) {
    fields.fail("choices", "an enum, and only an enum, has choices");
  }
  fields.finish();
  return spec;
}

/// The fact as a parameter's value, or null when the model does not know it. A ratio of lengths is
/// measured against the trained length in force, which may have been given.
Json fact_value(const std::string& fact, const ParamFacts& facts, int64_t trained_length) {
  const auto known = [](auto value) { return value > 0 ? Json(value) : Json(); };
  if (fact == "base") return known(facts.base);
  if (fact == "trained_length") return known(facts.trained_length);
  if (fact == "target_length") return known(facts.target_length);
  if (fact == "head_dim") return known(facts.head_dim);
  if (fact == "rotary_dim") return known(facts.rotary_dim);
  if (facts.target_length <= 0 || trained_length <= 0) return 1;
  return std::max(1.0,
                  static_cast<double>(facts.target_length) / static_cast<double>(trained_length));
}

/// Null where the parameter is left to the model or to its default: absent, or null itself.
const Json* given_value(const Json& given, const ParamSpec& spec) {
  const auto found = given.find(spec.name);
  return found == given.end() || found->is_null() ? nullptr : &*found;
}

bool within(const ParamSpec& spec, double value) {
  return std::isfinite(value) && !(spec.min && value < *spec.min) &&
         !(spec.max && value > *spec.max) && !(spec.above && value <= *spec.above) &&
         !(spec.below && value >= *spec.below);
}

/// An integer written as one, or as a number without a fraction ("1e3").
std::optional<int64_t> whole(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number()) return std::nullopt;
  constexpr double kMostExact = 9e15;  // below 2^53, where doubles begin to skip whole numbers
  const auto number = value.get<double>();
  if (number != std::floor(number) || std::fabs(number) > kMostExact) return std::nullopt;
  return static_cast<int64_t>(number);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

/// A text as JSON of the type, or null when it is none.
Json parse_text(const ParamSpec& spec, const std::string& text) {
  switch (spec.type) {
    case OKAPI_PARAM_NUMBER:
    case OKAPI_PARAM_INTEGER: {
      const std::optional<double> number = parse_number(text);
      return number && std::isfinite(*number) ? Json(*number) : Json();
    }
    case OKAPI_PARAM_BOOLEAN:
      if (text == "true" || text == "false") return text == "true";
      return nullptr;
    case OKAPI_PARAM_LIST: {
      Json list = Json::array();
      if (text.empty()) return list;
      for (const std::string& part : split(text, ';')) {
        const std::optional<double> number = parse_number(part);
        if (!number) return nullptr;
        list.push_back(*number);
      }
      return list;
    }
    default:
      return text;
  }
}

Error param_error(const std::string& owner, const std::string& field, const std::string& problem) {
  return Error(Code::invalid_argument, owner + ": " + problem).in(owner).field(field);
}

}  // namespace

std::string ParamSpec::wanted() const {
  std::string text;
  switch (type) {
    case OKAPI_PARAM_INTEGER:
      text = "a whole number";
      break;
    case OKAPI_PARAM_STRING:
      return "a text";
    case OKAPI_PARAM_BOOLEAN:
      return "true or false";
    case OKAPI_PARAM_ENUM:
      return "one of " + join_names(choices);
    case OKAPI_PARAM_LIST:
      text = "a list of numbers, each";
      break;
    default:
      text = "a number";
  }
  if (min && max) return text + " from " + number_text(*min) + " to " + number_text(*max);
  if (min) text += " of at least " + number_text(*min);
  if (above) text += " greater than " + number_text(*above);
  if (max) text += " of at most " + number_text(*max);
  if (below) text += " less than " + number_text(*below);
  return text;
}

ParamSchema ParamSchema::parse(std::string_view json, std::string owner) {
  ParamSchema schema;
  schema.owner_ = std::move(owner);
  const Json list = parse_json(json, {schema.owner_, "", "parameters"});
  if (!list.is_array()) {
    throw param_error(schema.owner_, "parameters",
                      "declared parameters: wanted an array, found " + describe_json(list));
  }
  for (size_t i = 0; i < list.size(); ++i) {
    ParamSpec spec =
        read_spec(list[i], {schema.owner_, "", "parameters[" + std::to_string(i) + "]"});
    if (schema.find(spec.name) != nullptr) {
      throw param_error(schema.owner_, spec.name, "parameter " + spec.name + " is declared twice");
    }
    if (spec.default_value) schema.checked(spec, *spec.default_value, OKAPI_PARAM_DEFAULT);
    schema.specs_.push_back(std::move(spec));
  }
  return schema;
}

const ParamSpec* ParamSchema::find(std::string_view name) const {
  const auto found = std::find_if(specs_.begin(), specs_.end(),
                                  [name](const ParamSpec& spec) { return spec.name == name; });
  return found == specs_.end() ? nullptr : &*found;
}

std::vector<std::string> ParamSchema::names() const {
  std::vector<std::string> names;
  for (const ParamSpec& spec : specs_) names.push_back(spec.name);
  return names;
}

void ParamSchema::refuse_unknown(const Json& given) const {
  if (!given.is_object()) {
    throw param_error(owner_, "parameters",
                      "parameters: wanted an object, found " + describe_json(given));
  }
  for (const auto& item : given.items()) {
    if (find(item.key()) != nullptr) continue;
    throw param_error(owner_, item.key(),
                      "unknown parameter " + item.key() + "; known: " + join_names(names()) +
                          did_you_mean(item.key(), names()));
  }
}

Json ParamSchema::from_texts(const ParamTexts& texts) const {
  Json given = Json::object();
  std::set<std::string> seen;
  for (const auto& [name, text] : texts) {
    const ParamSpec* spec = find(name);
    if (spec == nullptr) refuse_unknown(Json::object({{name, text}}));
    if (!seen.insert(name).second) {
      throw param_error(owner_, name, name + " is given twice");
    }
    if (text == kAuto && !spec->from_model.empty()) continue;
    Json value = parse_text(*spec, text);
    if (value.is_null()) {
      throw param_error(owner_, name,
                        name + ": wanted " + spec->wanted() + ", found \"" + text + "\"");
    }
    given[name] = std::move(value);
  }
  return given;
}

ParamValue ParamSchema::checked(const ParamSpec& spec, const Json& json, int32_t source) const {
  ParamValue value;
  value.name = spec.name;
  value.type = spec.type;
  value.source = source;

  const auto refuse = [&]() {
    return param_error(owner_, spec.name,
                       spec.name + ": wanted " + spec.wanted() + ", found " + describe_json(json));
  };
  switch (spec.type) {
    case OKAPI_PARAM_NUMBER:
      if (!json.is_number() || !within(spec, json.get<double>())) throw refuse();
      value.number = json.get<double>();
      break;
    case OKAPI_PARAM_INTEGER: {
      const std::optional<int64_t> integer = whole(json);
      if (!integer || !within(spec, static_cast<double>(*integer))) throw refuse();
      value.integer = *integer;
      break;
    }
    case OKAPI_PARAM_BOOLEAN:
      if (!json.is_boolean()) throw refuse();
      value.integer = json.get<bool>() ? 1 : 0;
      break;
    case OKAPI_PARAM_LIST:
      if (!json.is_array()) throw refuse();
      for (const Json& element : json) {
        if (!element.is_number() || !within(spec, element.get<double>())) throw refuse();
        value.numbers.push_back(element.get<double>());
      }
      break;
    case OKAPI_PARAM_ENUM:
      if (!json.is_string()) throw refuse();
      value.text = json.get<std::string>();
      if (std::find(spec.choices.begin(), spec.choices.end(), value.text) == spec.choices.end()) {
        throw refuse();
      }
      break;
    default:
      if (!json.is_string()) throw refuse();
      value.text = json.get<std::string>();
      // A NUL would cut the text short where a plugin reads it.
      if (value.text.find('\0') != std::string::npos) throw refuse();
  }
  return value;
}

int64_t ParamSchema::trained_length_in_force(const Json& given, const ParamFacts& facts) const {
  int64_t trained_length = facts.trained_length;
  for (const ParamSpec& spec : specs_) {
    const Json* value = given_value(given, spec);
    if (spec.from_model != "trained_length" || value == nullptr) continue;
    const ParamValue length = checked(spec, *value, OKAPI_PARAM_GIVEN);
    trained_length =
        spec.type == OKAPI_PARAM_INTEGER ? length.integer : static_cast<int64_t>(length.number);
  }
  return trained_length;
}

std::shared_ptr<const ParamValues> ParamSchema::resolve(const Json& given,
                                                        const ParamFacts* facts) const {
  refuse_unknown(given);
  const int64_t trained_length =
      trained_length_in_force(given, facts != nullptr ? *facts : ParamFacts{});
  std::vector<ParamValue> values;
  for (const ParamSpec& spec : specs_) {
    if (const Json* value = given_value(given, spec)) {
      values.push_back(checked(spec, *value, OKAPI_PARAM_GIVEN));
      continue;
    }
    if (facts != nullptr && !spec.from_model.empty()) {
      const Json fact = fact_value(spec.from_model, *facts, trained_length);
      if (!fact.is_null()) {
        values.push_back(checked(spec, fact, OKAPI_PARAM_MODEL));
        continue;
      }
    }
    if (spec.default_value) {
      values.push_back(checked(spec, *spec.default_value, OKAPI_PARAM_DEFAULT));
    } else if (spec.is_required) {
      throw param_error(owner_, spec.name, spec.name + " must be given: " + spec.wanted());
    } else {
      ParamValue unset;
      unset.name = spec.name;
      unset.type = spec.type;
      values.push_back(std::move(unset));
    }
  }
  return std::make_shared<const ParamValues>(std::move(values));
}

bool ParamSchema::follows_length(const Json& given) const {
  return std::any_of(specs_.begin(), specs_.end(), [&](const ParamSpec& spec) {
    const bool from_length =
        spec.from_model == "length_ratio" || spec.from_model == "target_length";
    return from_length && given_value(given, spec) == nullptr;
  });
}

Json ParamSchema::json() const {
  Json list = Json::array();
  for (const ParamSpec& spec : specs_) {
    Json json = {{"name", spec.name}, {"type", kTypes[static_cast<size_t>(spec.type) - 1]}};
    json["help"] = spec.help;
    if (spec.default_value) json["default"] = *spec.default_value;
    if (!spec.from_model.empty()) json["from_model"] = spec.from_model;
    if (spec.is_required) json["required"] = true;
    if (!spec.choices.empty()) json["choices"] = spec.choices;
    const auto limit = [&json](const char* key, const std::optional<double>& value) {
      if (value) json[key] = *value;
    };
    limit("min", spec.min);
    limit("max", spec.max);
    limit("above", spec.above);
    limit("below", spec.below);
    list.push_back(std::move(json));
  }
  return list;
}

}  // namespace okapi
