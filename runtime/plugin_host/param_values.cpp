#include "runtime/plugin_host/param_values.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/base/number_text.h"
#include "runtime/plugin_host/names.h"

namespace okapi {

namespace {

constexpr double kExactIntegers = 9007199254740992.0;  // 2^53

Json number_json(double value) {
  if (value == std::floor(value) && std::fabs(value) < kExactIntegers)
    return static_cast<int64_t>(value);
  return value;
}

/// As JSON writes it, so that the text reads back the same in both.
std::string number_spec(double value) {
  if (value == std::floor(value) && std::fabs(value) < 1e15) {
    return std::to_string(static_cast<int64_t>(value));
  }
  return number_text(value);
}

std::string quoted_if_needed(const std::string& text) {
  if (is_plugin_id(text)) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  quoted += '"';
  return quoted;
}

const okapi_param* find_param(const okapi_params* params, const char* name) {
  for (uint32_t i = 0; i < params->n_values; ++i) {
    if (std::strcmp(params->values[i].name, name) == 0) return &params->values[i];
  }
  return nullptr;
}

}  // namespace

Json ParamValue::json() const {
  if (source == OKAPI_PARAM_UNSET) return nullptr;
  switch (type) {
    case OKAPI_PARAM_NUMBER:
      return number_json(number);
    case OKAPI_PARAM_INTEGER:
      return integer;
    case OKAPI_PARAM_BOOLEAN:
      return integer != 0;
    case OKAPI_PARAM_LIST: {
      Json list = Json::array();
      for (const double element : numbers) list.push_back(number_json(element));
      return list;
    }
    default:
      return text;
  }
}

std::string ParamValue::spec_text() const {
  switch (type) {
    case OKAPI_PARAM_NUMBER:
      return number_spec(number);
    case OKAPI_PARAM_INTEGER:
      return std::to_string(integer);
    case OKAPI_PARAM_BOOLEAN:
      return integer != 0 ? "true" : "false";
    case OKAPI_PARAM_LIST: {
      std::string list;
      for (const double element : numbers) {
        if (!list.empty()) list += ';';
        list += number_spec(element);
      }
      return list;
    }
    default:
      return quoted_if_needed(text);
  }
}

const char* source_name(int32_t source) {
  switch (source) {
    case OKAPI_PARAM_GIVEN:
      return "given";
    case OKAPI_PARAM_MODEL:
      return "model";
    case OKAPI_PARAM_DEFAULT:
      return "default";
    default:
      return "unset";
  }
}

ParamValues::ParamValues(std::vector<ParamValue> values) : values_(std::move(values)) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  c_values_.reserve(values_.size());
  for (const ParamValue& value : values_) {
    if (value.source != OKAPI_PARAM_UNSET) json[value.name] = value.json();
    const bool counts = value.type == OKAPI_PARAM_INTEGER || value.type == OKAPI_PARAM_BOOLEAN;
    c_values_.push_back({value.name.c_str(), value.type, value.source,
                         counts ? static_cast<double>(value.integer) : value.number, value.integer,
                         value.text.c_str(), value.numbers.data(),
                         static_cast<int64_t>(value.numbers.size())});
  }
  json_text_ = json.dump();
  table_.struct_size = sizeof table_;
  table_.n_values = static_cast<uint32_t>(c_values_.size());
  table_.values = c_values_.data();
  table_.json = json_text_.c_str();
  table_.find = find_param;
}

}  // namespace okapi
