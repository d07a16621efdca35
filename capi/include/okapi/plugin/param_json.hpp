// Declared parameters as C++ constants, and their JSON text made by the compiler, so that it stands
// in the file for tools that read the entry without running any code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

#include <okapi/plugin/plugin.h>

namespace okapi {

/// The default of a parameter, which also says its type.
struct Default {
  int32_t type = OKAPI_PARAM_NUMBER;
  bool is_set = false;
  bool is_required = false;
  double number = 0;
  int64_t integer = 0;
  std::string_view text;
  std::string_view choices;     ///< separated by '|'
  std::string_view from_model;  ///< a fact of the model, as plugin.h lists them

  constexpr Default(double value)  // NOLINT(google-explicit-constructor): written as a literal
      : is_set(true), number(value) {}
  constexpr Default(int value)  // NOLINT(google-explicit-constructor)
      : type(OKAPI_PARAM_INTEGER), is_set(true), integer(value) {}
  constexpr Default(int64_t value)  // NOLINT(google-explicit-constructor)
      : type(OKAPI_PARAM_INTEGER), is_set(true), integer(value) {}
  constexpr Default(bool value)  // NOLINT(google-explicit-constructor)
      : type(OKAPI_PARAM_BOOLEAN), is_set(true), integer(value ? 1 : 0) {}
  constexpr Default(const char* value)  // NOLINT(google-explicit-constructor)
      : type(OKAPI_PARAM_STRING), is_set(true), text(value) {}

  /// No default: `unset` parameters may stay without a value, `required` ones must be given.
  static constexpr Default unset(int32_t type) { return Default(type, false, ""); }
  static constexpr Default required(int32_t type) { return Default(type, true, ""); }
  static constexpr Default model(int32_t type, std::string_view fact) {
    return Default(type, false, fact);
  }

 private:
  constexpr Default(int32_t kind, bool required, std::string_view fact)
      : type(kind), is_required(required), from_model(fact) {}
};

inline constexpr Default kUnset = Default::unset(OKAPI_PARAM_NUMBER);
inline constexpr Default kUnsetInteger = Default::unset(OKAPI_PARAM_INTEGER);
inline constexpr Default kUnsetText = Default::unset(OKAPI_PARAM_STRING);
inline constexpr Default kUnsetList = Default::unset(OKAPI_PARAM_LIST);
inline constexpr Default kRequired = Default::required(OKAPI_PARAM_NUMBER);
inline constexpr Default kRequiredInteger = Default::required(OKAPI_PARAM_INTEGER);
inline constexpr Default kRequiredText = Default::required(OKAPI_PARAM_STRING);
inline constexpr Default kRequiredList = Default::required(OKAPI_PARAM_LIST);

/// Facts of the model.
inline constexpr Default kBase = Default::model(OKAPI_PARAM_NUMBER, "base");
inline constexpr Default kTrainedLength = Default::model(OKAPI_PARAM_INTEGER, "trained_length");
inline constexpr Default kTargetLength = Default::model(OKAPI_PARAM_INTEGER, "target_length");
inline constexpr Default kLengthRatio = Default::model(OKAPI_PARAM_NUMBER, "length_ratio");

/// One of `choices`, which are separated by '|': choice("pairs", "pairs|rotations").
constexpr Default choice(std::string_view value, std::string_view choices) {
  Default made = Default::unset(OKAPI_PARAM_ENUM);
  made.is_set = true;
  made.text = value;
  made.choices = choices;
  return made;
}

/// What values are allowed; of a list, its elements.
struct Limits {
  double min = 0, max = 0, above = 0, below = 0;
  bool has_min = false, has_max = false, has_above = false, has_below = false;
};

constexpr Limits at_least(double min) { return {.min = min, .has_min = true}; }
constexpr Limits more_than(double above) { return {.above = above, .has_above = true}; }
constexpr Limits between(double min, double max) {
  return {.min = min, .max = max, .has_min = true, .has_max = true};
}

/// A declared parameter: {"scale", okapi::kLengthRatio, "target / trained length", at_least(1)}.
struct Param {
  std::string_view name;
  Default value;
  std::string_view help;
  Limits limits = {};
};

namespace detail {

/// Writes text into an array whose last byte stays 0. Too much text is an error of compilation.
class TextWriter {
 public:
  template <size_t kSize>
  explicit constexpr TextWriter(char (&array)[kSize]) : array_(array), capacity_(kSize - 1) {}

  constexpr TextWriter& put(std::string_view text) {
    for (const char c : text) put_char(c);
    return *this;
  }

  constexpr TextWriter& put_char(char c) {
    if (size_ == capacity_) throw "the text does not fit into the plugin's entry";
    array_[size_++] = c;
    return *this;
  }

  constexpr TextWriter& put_quoted(std::string_view text) {
    put_char('"');
    for (const char c : text) {
      if (static_cast<unsigned char>(c) < 0x20) throw "a control character in a parameter's text";
      if (c == '"' || c == '\\') put_char('\\');
      put_char(c);
    }
    return put_char('"');
  }

  constexpr TextWriter& put_integer(int64_t value) {
    if (value < 0) put_char('-');
    char digits[20] = {};
    int n_digits = 0;
    for (auto left = magnitude(value); n_digits == 0 || left > 0; left /= 10) {
      digits[n_digits++] = static_cast<char>('0' + left % 10);
    }
    while (n_digits > 0) put_char(digits[--n_digits]);
    return *this;
  }

  /// As mantissa * 10^exponent, found exactly: the quotient (or product) of two integers below 2^53
  /// and 10^22 is correctly rounded, as is the number that reads it back.
  constexpr TextWriter& put_number(double value) {
    double power = 1;
    for (int exponent = 0; exponent <= 22; ++exponent, power *= 10) {
      if (const double shifted = value * power; shifted < 9e15 && shifted > -9e15) {
        const auto nearest = static_cast<int64_t>(shifted + (shifted < 0 ? -0.5 : 0.5));
        if (static_cast<double>(nearest) / power == value) return put_scaled(nearest, -exponent);
      }
      if (const double shifted = value / power; shifted < 9e15 && shifted > -9e15) {
        const auto nearest = static_cast<int64_t>(shifted);
        if (static_cast<double>(nearest) * power == value) return put_scaled(nearest, exponent);
      }
    }
    throw "a number in a declaration has too many digits";
  }

 private:
  static constexpr uint64_t magnitude(int64_t value) {
    return value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  }

  // 32 as 32, 0.4 as 4e-1: made for parsers; the host prints numbers for people.
  constexpr TextWriter& put_scaled(int64_t mantissa, int exponent) {
    put_integer(mantissa);
    if (exponent != 0) put_char('e').put_integer(exponent);
    return *this;
  }

  char* array_;
  size_t capacity_;
  size_t size_ = 0;
};

constexpr std::string_view type_name(int32_t type) {
  switch (type) {
    case OKAPI_PARAM_INTEGER:
      return "integer";
    case OKAPI_PARAM_STRING:
      return "string";
    case OKAPI_PARAM_BOOLEAN:
      return "boolean";
    case OKAPI_PARAM_ENUM:
      return "enum";
    case OKAPI_PARAM_LIST:
      return "list";
    default:
      return "number";
  }
}

constexpr void write_default(TextWriter& writer, const Default& value) {
  if (!value.from_model.empty()) writer.put(",\"from_model\":").put_quoted(value.from_model);
  if (value.is_required) writer.put(",\"required\":true");
  if (!value.is_set) return;
  writer.put(",\"default\":");
  switch (value.type) {
    case OKAPI_PARAM_NUMBER:
      writer.put_number(value.number);
      break;
    case OKAPI_PARAM_INTEGER:
      writer.put_integer(value.integer);
      break;
    case OKAPI_PARAM_BOOLEAN:
      writer.put(value.integer != 0 ? "true" : "false");
      break;
    default:
      writer.put_quoted(value.text);
  }
}

constexpr void write_choices(TextWriter& writer, std::string_view choices) {
  writer.put(",\"choices\":[");
  for (size_t begin = 0; begin <= choices.size();) {
    size_t end = begin;
    while (end < choices.size() && choices[end] != '|') ++end;
    if (begin > 0) writer.put_char(',');
    writer.put_quoted(choices.substr(begin, end - begin));
    begin = end + 1;
  }
  writer.put_char(']');
}

constexpr void write_limit(TextWriter& writer, bool is_set, std::string_view key, double value) {
  if (is_set) writer.put(",\"").put(key).put("\":").put_number(value);
}

/// The declaration as plugin.h describes it.
constexpr void write_params(TextWriter writer, std::span<const Param> params) {
  writer.put_char('[');
  bool is_first = true;
  for (const Param& param : params) {
    if (!is_first) writer.put_char(',');
    is_first = false;
    writer.put("{\"name\":").put_quoted(param.name);
    writer.put(",\"type\":").put_quoted(type_name(param.value.type));
    write_default(writer, param.value);
    if (param.value.type == OKAPI_PARAM_ENUM) write_choices(writer, param.value.choices);
    write_limit(writer, param.limits.has_min, "min", param.limits.min);
    write_limit(writer, param.limits.has_max, "max", param.limits.max);
    write_limit(writer, param.limits.has_above, "above", param.limits.above);
    write_limit(writer, param.limits.has_below, "below", param.limits.below);
    writer.put(",\"help\":").put_quoted(param.help).put_char('}');
  }
  writer.put_char(']');
}

}  // namespace detail
}  // namespace okapi
