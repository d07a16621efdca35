#include "runtime/base/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "runtime/base/mapped_file.h"

namespace okapi {

namespace {

Code code_of(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return Code::not_found;
    case EACCES:
    case EPERM:
    case EROFS:
      return Code::permission_denied;
    case EISDIR:
    case ENAMETOOLONG:
    case ELOOP:
      return Code::invalid_argument;
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
      return Code::resource_exhausted;
    default:
      return Code::internal;
  }
}

/// A new file beside `path`, removed again unless it was renamed into place.
class FileAside {
 public:
  explicit FileAside(const std::filesystem::path& path) : target_(path) {
    // Renaming would put a file in the place of a device or a pipe, and fails late for a folder.
    std::error_code ignored;
    const std::filesystem::file_status there = std::filesystem::status(path, ignored);
    if (std::filesystem::is_directory(there)) throw file_error("write", target_, EISDIR);
    if (std::filesystem::exists(there) && !std::filesystem::is_regular_file(there)) {
      throw Error(Code::invalid_argument, "cannot write the file: wanted a regular file")
          .in("file")
          .at(path.string());
    }
    // Not mkstemp: its file is private, and giving it the usual rights would need the process's
    // umask.
    static std::atomic<uint64_t> n_files{0};
    do {
      name_ = path.string() + "." + std::to_string(::getpid()) + "." + std::to_string(n_files++);
      descriptor_ = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (descriptor_ < 0 && errno == EEXIST);
    if (descriptor_ < 0) throw file_error("create", target_, errno);
  }
  FileAside(const FileAside&) = delete;
  FileAside& operator=(const FileAside&) = delete;

  ~FileAside() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!renamed_) ::unlink(name_.c_str());
  }

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written < 0) {
        if (errno == EINTR) continue;
        throw file_error("write", target_, errno);
      }
      bytes = bytes.subspan(static_cast<size_t>(written));
    }
  }

  void rename_into_place() {
    if (::fsync(descriptor_) != 0) throw file_error("flush", target_, errno);
    if (::close(std::exchange(descriptor_, -1)) != 0) throw file_error("close", target_, errno);
    if (::rename(name_.c_str(), target_.c_str()) != 0) throw file_error("rename", target_, errno);
    renamed_ = true;

    // The rename itself is on the disk once the folder is. Some file systems cannot flush a folder;
    // the file is then complete all the same.
    const std::filesystem::path parent = target_.parent_path();
    const int folder = ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_CLOEXEC);
    if (folder >= 0) {
      ::fsync(folder);
      ::close(folder);
    }
  }

 private:
  std::filesystem::path target_;
  std::string name_;
  int descriptor_ = -1;
  bool renamed_ = false;
};

}  // namespace

Error file_error(std::string_view verb, const std::filesystem::path& path, int error_number) {
  return Error(code_of(error_number), "cannot " + std::string(verb) + " the file: " +
                                          std::generic_category().message(error_number))
      .in("file")
      .at(path.string());
}

std::string read_file(const std::filesystem::path& path, size_t max_bytes) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored) &&
      std::filesystem::file_size(path, ignored) == 0) {
    return {};
  }

  const MappedFile file = MappedFile::open(path);
  if (file.bytes().size() > max_bytes) {
    throw Error(Code::resource_exhausted, "wanted at most " + std::to_string(max_bytes) +
                                              " bytes, found " +
                                              std::to_string(file.bytes().size()))
        .in("file")
        .field("size")
        .at(path.string());
  }
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

void write_file_atomically(const std::filesystem::path& path,
                           const std::function<void(const FileWriter&)>& fill) {
  FileAside aside(path);
  fill([&aside](std::span<const std::byte> bytes) { aside.write(bytes); });
  aside.rename_into_place();
}

void write_file_atomically(const std::filesystem::path& path, std::string_view contents) {
  write_file_atomically(path, [contents](const FileWriter& write) {
    write(std::as_bytes(std::span(contents.data(), contents.size())));
  });
}

}  // namespace okapi
