// Opens a backend by name.
//
//   auto backend = open_backend("cpu", {.n_threads = 2}, {"/usr/lib/okapi/backends"}, *logger);
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "runtime/base/log.h"

namespace okapi {

/// Looks for okapi_backend_<name>.so in the directories in their order and opens the first that can
/// be opened and is of this build (kBuildId). The module stays mapped until the process ends.
///
/// Throws Error: invalid_argument for a name that is not one (letters, digits, underscores),
/// not_found when no directory holds the file, failed_precondition when the only ones found are of
/// another build, unavailable when the dynamic loader, or the backend with these options, refuses.
/// The message lists everything that was tried and why it failed.
std::shared_ptr<Backend> open_backend(const std::string& name, const BackendOptions& options,
                                      const std::vector<std::filesystem::path>& directories,
                                      const Logger& logger);

}  // namespace okapi
