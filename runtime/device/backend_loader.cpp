#include "runtime/device/backend_loader.h"

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/base/shared_library.h"
#include "runtime/device/build_id.h"

namespace okapi {

namespace {

constexpr const char* kDeviceComponent = "device";

void check_name(const std::string& name) {
  const bool is_name = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
  if (is_name) return;
  throw Error(Code::invalid_argument,
              "backend: wanted a name of lower-case letters, digits and "
              "underscores such as \"cpu\", found \"" +
                  name + "\"")
      .in(kDeviceComponent)
      .field("backend");
}

/// The entry of one module file; throws Error when it is not a backend of this build.
const BackendEntry& load_entry(const std::filesystem::path& file) {
  const SharedLibrary library = SharedLibrary::open(file, Isolation::local);
  const auto* const entry = static_cast<const BackendEntry*>(library.symbol(kBackendEntryName));
  // The id comes first in the entry in every build: nothing else of it is touched before it
  // matches.
  if (entry->build_id == nullptr || std::string(entry->build_id) != kBuildId) {
    throw Error(Code::failed_precondition,
                "the module is of build " +
                    std::string(entry->build_id ? entry->build_id : "(none)") +
                    ", this runtime of build " + kBuildId);
  }
  return *entry;
}

std::shared_ptr<Backend> create(const BackendEntry& entry, const BackendOptions& options) {
  try {
    return std::shared_ptr<Backend>(entry.create(options));
  } catch (const BackendError& e) {
    throw Error(Code::unavailable, e.what());
  }
}

}  // namespace

std::shared_ptr<Backend> open_backend(const std::string& name, const BackendOptions& options,
                                      const std::vector<std::filesystem::path>& directories,
                                      const Logger& logger) {
  check_name(name);
  std::string tried;
  Code code = Code::not_found;
  for (const std::filesystem::path& directory : directories) {
    const std::filesystem::path file = directory / ("okapi_backend_" + name + ".so");
    try {
      std::shared_ptr<Backend> backend = create(load_entry(file), options);
      logger.log(LogLevel::info, kDeviceComponent, "opened backend " + name,
                 {{"file", file.string()}, {"device", backend->device()}});
      return backend;
    } catch (const Error& e) {
      tried += "\n  " + file.string() + ": " + e.message();
      if (e.code() != Code::not_found) code = e.code();
    }
  }
  if (directories.empty()) tried = " no directory was given to look in";
  throw Error(code, "backend \"" + name + "\" could not be opened; tried:" + tried)
      .in(kDeviceComponent)
      .field("backend");
}

}  // namespace okapi
