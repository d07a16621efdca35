// Numbers as text that reads back to the same number, independent of the locale.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

namespace okapi {

/// The shortest text that parses to the same double: 4, 0.1, 1e+06, 1.138629436111989.
inline std::string number_text(double value) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
  return {buffer, result.ptr};
}

/// The whole text as a number (also inf and nan), or nothing.
inline std::optional<double> parse_number(std::string_view text) {
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace okapi
