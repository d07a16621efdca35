#include "runtime/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/file.h"

namespace okapi {

namespace {

/// Closes the descriptor when the mapping stands: it keeps the file open by itself.
struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

MappedFile MappedFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe must not wait for a writer before we can refuse it.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.value < 0) throw file_error("open", path, errno);

  struct stat info {};
  if (::fstat(file.value, &info) != 0) throw file_error("read the size of", path, errno);
  if (!S_ISREG(info.st_mode)) {
    throw Error(Code::invalid_argument,
                std::string("wanted a regular file, found ") +
                    (S_ISDIR(info.st_mode) ? "a directory" : "a special file"))
        .in("file")
        .at(path.string());
  }
  if (info.st_size == 0) {
    throw Error(Code::invalid_argument, "the file is empty")
        .in("file")
        .field("size")
        .at(path.string());
  }

  const auto size = static_cast<size_t>(info.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
  if (data == MAP_FAILED) throw file_error("map", path, errno);
  return {static_cast<const std::byte*>(data), size, path.string()};
}

MappedFile::MappedFile(const std::byte* data, size_t size, std::string path)
    : data_(data), size_(size), path_(std::move(path)) {}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace okapi
