// A shared library opened at run time. It stays mapped until the process ends, so that code and
// data it handed out never dangle.
#pragma once

#include <filesystem>
#include <string>

namespace okapi {

/// How the library's own symbols are looked up.
enum class Isolation {
  local,  ///< its symbols are invisible to others; the host program's come first for it
  deep,  ///< besides, the library and what it links come first for it: two copies of one dependency
         ///< (protobuf) can then live in the process
};

class SharedLibrary {
 public:
  /// Every symbol is bound now. Throws not_found when the file does not exist and unavailable when
  /// the dynamic loader refuses it, with the loader's words. AddressSanitizer's and
  /// ThreadSanitizer's run times refuse deep isolation; under them it is as `local`.
  static SharedLibrary open(const std::filesystem::path& path, Isolation isolation);

  /// The address of a symbol, or null when the library has none of that name.
  void* find(const char* name) const;

  /// As find(), but throws not_found.
  void* symbol(const char* name) const;

  const std::string& path() const { return path_; }

 private:
  SharedLibrary(void* handle, std::string path) : handle_(handle), path_(std::move(path)) {}

  void* handle_;
  std::string path_;
};

}  // namespace okapi
