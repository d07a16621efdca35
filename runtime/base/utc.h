// The present moment as text.
#pragma once

#include <ctime>
#include <string>

namespace okapi {

/// "2026-01-31T23:59:59Z": ISO 8601, UTC, whole seconds.
inline std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace okapi
