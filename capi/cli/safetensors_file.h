// Writes one f32 tensor to a safetensors file, row by row, so that it never lies in memory whole.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace okapi::cli {

/// Beside the target first, then flushed and renamed into place by finish(); removed if that never
/// comes.
class SafetensorsFile {
 public:
  /// Throws Failure if the file cannot be made, or something else is in its place.
  SafetensorsFile(std::string path, const std::string& tensor, const std::vector<int64_t>& shape,
                  const std::map<std::string, std::string>& metadata);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  /// The next values of the tensor, in row-major order.
  void write(const float* values, size_t n_values);

  /// Throws unless exactly the tensor's values were written.
  void finish();

 private:
  void write_bytes(const void* bytes, size_t n_bytes);
  [[noreturn]] void fail(const char* what) const;

  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  std::string path_;
  std::string temporary_path_;
  std::unique_ptr<std::FILE, Close> file_;
  uint64_t n_values_left_;
};

}  // namespace okapi::cli
