// Holds a plugin against the contract of its kind: what `okapi plugins check` runs.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/json.h"
#include "runtime/base/log.h"

namespace okapi {

struct ConformanceCheck {
  std::string check;  ///< what must hold
  bool passed = false;
  std::string detail;  ///< why it does not, or what was looked at
};

/// First reads the metadata without loading anything, then loads the library and runs its code on
/// this thread. Later checks are left out when an earlier one makes them impossible. Never throws
/// for what the plugin does.
std::vector<ConformanceCheck> check_plugin(const std::filesystem::path& path,
                                           const std::shared_ptr<const Logger>& logger);

/// "passed" and "checks".
Json conformance_json(const std::vector<ConformanceCheck>& checks);

}  // namespace okapi
