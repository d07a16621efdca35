// The folder of a run's checkpoints: step-00000300, step-00000600, ... Each is written aside,
// synced and renamed, so that what has such a name is whole; a kill leaves at most something to
// sweep up.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace okapi {

class CheckpointFolder {
 public:
  /// Makes the folder, takes its lock and sweeps up what a killed run has left. Throws unavailable
  /// when another trainer has it.
  explicit CheckpointFolder(std::filesystem::path path);
  ~CheckpointFolder();
  CheckpointFolder(const CheckpointFolder&) = delete;
  CheckpointFolder& operator=(const CheckpointFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  /// Steps of the checkpoints there, ascending.
  std::vector<int64_t> steps() const;
  std::filesystem::path at(int64_t step) const;

  /// Calls `fill` with an empty folder, which becomes the checkpoint of `step` when it returns. One
  /// of that step which is there already is replaced.
  std::filesystem::path write(int64_t step,
                              const std::function<void(const std::filesystem::path&)>& fill);

  void remove(int64_t step);

 private:
  void sweep() const;

  std::filesystem::path path_;
  int lock_ = -1;
};

/// Names of the files, and their SHA-256, that a checkpoint's `fill` has made.
std::vector<std::pair<std::string, std::string>> hashes_of_files(
    const std::filesystem::path& folder);

}  // namespace okapi
