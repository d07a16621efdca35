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
///
/// `given` are parameters of a dataset, besides which required ones get an example's value; a
/// required text (a file) that is not given ends the checks of a dataset, as none can be made up.
std::vector<ConformanceCheck> check_plugin(const std::filesystem::path& path,
                                           const std::shared_ptr<const Logger>& logger,
                                           const Json& given = Json::object());

/// "passed" and "checks".
Json conformance_json(const std::vector<ConformanceCheck>& checks);

}  // namespace okapi
