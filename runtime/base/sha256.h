// SHA-256, by libnettle. (Not libcrypto: a host program with another libcrypto or BoringSSL in it
// exports the same names.)
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace okapi {

class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();

  void update(const void* data, size_t size);
  void update(std::string_view text) { update(text.data(), text.size()); }

  /// 64 lower-case hexadecimal digits of all updates; afterwards the object starts afresh.
  std::string hex();

 private:
  struct State;  // keeps nettle's type out of this header
  std::unique_ptr<State> state_;
};

std::string sha256_of(const void* data, size_t size);

/// Throws as MappedFile::open does, so also for an empty file.
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace okapi
