// A file mapped into memory, read-only. Moves, does not copy.
//
// The bytes are only as trustworthy as the file: a reader checks every offset before it uses one.
// A file that another process shortens while it is mapped faults on access, as any mapping does.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace okapi {

class MappedFile {
 public:
  /// Throws not_found, permission_denied, or invalid_argument (a directory, a device, empty), each
  /// naming the file.
  static MappedFile open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(const std::byte* data, size_t size, std::string path);

  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::string path_;
};

}  // namespace okapi
