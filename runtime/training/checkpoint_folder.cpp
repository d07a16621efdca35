#include "runtime/training/checkpoint_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <optional>
#include <string_view>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/file.h"
#include "runtime/base/sha256.h"

namespace okapi {

namespace {

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kAside = ".partial-";    // being written
constexpr std::string_view kLeaving = ".leaving-";  // being removed
constexpr const char* kLockName = ".lock";

std::string name_of(int64_t step) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%08lld", static_cast<long long>(step));
  return std::string(kPrefix) + digits;
}

std::optional<int64_t> step_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto result = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (result.ec != std::errc() || result.ptr != end || name_of(step) != name) return std::nullopt;
  return step;
}

/// Brings names in a folder to the disk. Some file systems cannot; the names are there all the
/// same.
void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

void rename_folder(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw file_error("rename", to, errno);
  sync_folder(to.parent_path());
}

}  // namespace

CheckpointFolder::CheckpointFolder(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error) throw file_error("make the folder of", path_, error.value());
  const std::filesystem::path lock = path_ / kLockName;
  lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) throw file_error("create", lock, errno);
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock_);
    throw Error(Code::unavailable, "checkpoint.folder: another trainer writes to this folder")
        .in("training")
        .field("checkpoint.folder")
        .at(path_.string());
  }
  sweep();
}

CheckpointFolder::~CheckpointFolder() { ::close(lock_); }

void CheckpointFolder::sweep() const {
  std::error_code ignored;
  std::vector<std::filesystem::path> left;
  for (const auto& entry : std::filesystem::directory_iterator(path_)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kAside) || name.starts_with(kLeaving)) left.push_back(entry.path());
  }
  for (const std::filesystem::path& folder : left) std::filesystem::remove_all(folder, ignored);
}

std::vector<int64_t> CheckpointFolder::steps() const {
  std::vector<int64_t> steps;
  for (const auto& entry : std::filesystem::directory_iterator(path_)) {
    const std::optional<int64_t> step = step_of(entry.path().filename().string());
    if (step && entry.is_directory()) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::filesystem::path CheckpointFolder::at(int64_t step) const { return path_ / name_of(step); }

std::filesystem::path CheckpointFolder::write(
    int64_t step, const std::function<void(const std::filesystem::path&)>& fill) {
  const std::filesystem::path aside = path_ / (std::string(kAside) + name_of(step));
  std::filesystem::remove_all(aside);
  std::filesystem::create_directory(aside);
  try {
    fill(aside);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove_all(aside, ignored);
    throw;
  }
  sync_folder(aside);
  remove(step);
  rename_folder(aside, at(step));
  return at(step);
}

// Renamed first: a folder that a kill leaves half removed must not pass for a checkpoint.
void CheckpointFolder::remove(int64_t step) {
  const std::filesystem::path folder = at(step);
  if (!std::filesystem::exists(folder)) return;
  const std::filesystem::path leaving = path_ / (std::string(kLeaving) + name_of(step));
  std::filesystem::remove_all(leaving);
  rename_folder(folder, leaving);
  std::filesystem::remove_all(leaving);
}

std::vector<std::pair<std::string, std::string>> hashes_of_files(
    const std::filesystem::path& folder) {
  std::vector<std::pair<std::string, std::string>> hashes;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    hashes.emplace_back(entry.path().filename().string(), sha256_of_file(entry.path()));
  }
  std::sort(hashes.begin(), hashes.end());
  return hashes;
}

}  // namespace okapi
