// The bytes of a file that may be compressed, front to back.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace corpus {

class ByteSource {
 public:
  virtual ~ByteSource() = default;

  /// Up to `n` bytes, at least 1; 0 at the end. Throws okapi::Failure naming the file: it cannot be
  /// read, its compressed data is damaged, or it ends too early.
  virtual size_t read(char* to, size_t n) = 0;
};

struct OpenedBytes {
  std::unique_ptr<ByteSource> bytes;
  bool is_compressed = false;
};

/// gzip and Zstandard are known by their first bytes, whatever the file's name; any other file is
/// read as it is. Throws okapi::Failure naming the file.
OpenedBytes open_bytes(const std::string& path);

/// "PATH: PROBLEM", as the plugin reports it.
[[noreturn]] void fail_file(const std::string& path, const std::string& problem);

/// The same for what the system refused, with the status that fits.
[[noreturn]] void fail_system(const std::string& path, const std::string& verb, int error_number);

}  // namespace corpus
