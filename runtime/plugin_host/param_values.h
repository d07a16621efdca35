// Checked parameters of one instance, in the form that plugins read.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include <okapi/plugin/plugin.h>

#include "runtime/base/json.h"

namespace okapi {

/// One value and where it came from. Which member counts is said by the type.
struct ParamValue {
  std::string name;
  int32_t type = OKAPI_PARAM_NUMBER;
  int32_t source = OKAPI_PARAM_UNSET;
  double number = 0;
  int64_t integer = 0;  ///< of a boolean, 0 or 1
  std::string text;
  std::vector<double> numbers;

  /// As JSON; null when unset. Whole numbers come without a point.
  Json json() const;

  /// As a rope spec writes it: lists with ';', strings in quotes where they need them.
  std::string spec_text() const;
};

/// "given", "model", "default" or "unset".
const char* source_name(int32_t source);

/// Immutable; pointers into it live as long as it does.
class ParamValues {
 public:
  explicit ParamValues(std::vector<ParamValue> values);
  ParamValues(const ParamValues&) = delete;
  ParamValues& operator=(const ParamValues&) = delete;

  const std::vector<ParamValue>& values() const { return values_; }

  /// What a plugin's create or open is given.
  const okapi_params* table() const { return &table_; }

  /// The values that are set, keys in the order of the declaration.
  const std::string& json_text() const { return json_text_; }

  bool operator==(const ParamValues& other) const { return json_text_ == other.json_text_; }

 private:
  std::vector<ParamValue> values_;
  std::vector<okapi_param> c_values_;
  std::string json_text_;
  okapi_params table_{};
};

}  // namespace okapi
