#include "runtime/training/rope_schedule.h"

#include <algorithm>
#include <charconv>

#include "runtime/base/error.h"
#include "runtime/base/number_text.h"
#include "runtime/model/rotary/rope_spec.h"

namespace okapi {

namespace {

/// Whether the first given step is still to come, so that the rope's own text holds.
bool has_begun(const RopeScheduleConfig& schedule, int64_t step) {
  return schedule.at.empty() || step >= schedule.at.front().first;
}

/// As rope_spec.h wants values: quoted where they hold what separates.
std::string value_text(const std::string& value) {
  const bool is_plain = value.find_first_of(",|\" \t\r\n") == std::string::npos;
  if (is_plain) return value;
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

std::string text_of(const std::vector<SchemeText>& schemes) {
  std::string text;
  for (const SchemeText& scheme : schemes) {
    if (!text.empty()) text += " | ";
    text += scheme.name;
    char separator = ':';
    for (const auto& [key, value] : scheme.params) {
      text += separator + key + "=" + value_text(value);
      separator = ',';
    }
  }
  return text;
}

/// 1.1 + 6 * 0.1 is 1.7000000000000002: people, and the results, want 1.7.
double as_written(double value) {
  constexpr int kDigits = 14;
  char buffer[32];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::general, kDigits);
  double rounded = value;
  std::from_chars(buffer, end.ptr, rounded);
  return rounded;
}

void set_parameter(SchemeText& scheme, const std::string& key, const std::string& value) {
  const auto known = std::find_if(scheme.params.begin(), scheme.params.end(),
                                  [&](const auto& param) { return param.first == key; });
  if (known != scheme.params.end()) {
    known->second = value;
  } else {
    scheme.params.emplace_back(key, value);
  }
}

}  // namespace

double scheduled_value(const RopeScheduleConfig& schedule, int64_t step, double otherwise) {
  if (schedule.at.empty()) {
    const int64_t n_moves = step / schedule.every;
    const double moved = static_cast<double>(n_moves) * schedule.by;
    return schedule.to < schedule.from ? std::max(schedule.to, as_written(schedule.from - moved))
                                       : std::min(schedule.to, as_written(schedule.from + moved));
  }
  double value = otherwise;
  for (const auto& [first, given] : schedule.at) {
    if (step >= first) value = given;
  }
  return value;
}

std::string rope_at_step(const std::string& spec, const std::vector<RopeScheduleConfig>& schedule,
                         int64_t step) {
  if (schedule.empty()) return spec;
  std::vector<SchemeText> schemes = parse_rope_spec(spec);
  for (const RopeScheduleConfig& entry : schedule) {
    const auto scheme = std::find_if(schemes.begin(), schemes.end(), [&](const SchemeText& text) {
      return text.name == entry.scheme;
    });
    if (scheme == schemes.end()) {
      throw bad_config("rope.schedule", "the rope \"" + spec + "\" has no scheme " + entry.scheme);
    }
    if (!has_begun(entry, step)) continue;
    set_parameter(*scheme, entry.parameter, number_text(scheduled_value(entry, step, 0)));
  }
  return text_of(schemes);
}

}  // namespace okapi
