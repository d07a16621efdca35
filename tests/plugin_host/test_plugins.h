// Where the build puts the plugins of these tests.
#pragma once

#include <filesystem>
#include <string>

namespace okapi::test {

inline std::filesystem::path test_plugins() {
  return std::filesystem::path(OKAPI_BUILD_LIB) / "okapi" / "test_plugins";
}

/// A scheme with one fault: "nan".
inline std::filesystem::path broken(const std::string& fault) {
  return test_plugins() / "broken" / ("fault_" + fault + ".so");
}

/// An entry with one fault: "magic".
inline std::filesystem::path entry(const std::string& fault) {
  return test_plugins() / "entries" / ("entry_" + fault + ".so");
}

inline std::filesystem::path good() { return test_plugins() / "rope" / "good.so"; }

}  // namespace okapi::test
