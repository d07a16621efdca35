#include "capi/cli/safetensors_file.h"

#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <unistd.h>
#include <nlohmann/json.hpp>

#include "capi/lua/c_api.h"

namespace okapi::cli {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

static uint64_t count_of(const std::vector<int64_t>& shape) {
  uint64_t count = 1;
  for (const int64_t size : shape) count *= static_cast<uint64_t>(size);
  return count;
}

SafetensorsFile::SafetensorsFile(std::string path, const std::string& tensor,
                                 const std::vector<int64_t>& shape,
                                 const std::map<std::string, std::string>& metadata)
    : path_(std::move(path)),
      temporary_path_(path_ + ".tmp" + std::to_string(getpid())),
      n_values_left_(count_of(shape)) {
  nlohmann::ordered_json header;
  header["__metadata__"] = metadata;
  header[tensor] = {{"dtype", "F32"},
                    {"shape", shape},
                    {"data_offsets", {uint64_t{0}, n_values_left_ * sizeof(float)}}};
  std::string text = header.dump();
  // The data begins at a multiple of eight bytes, as the format's own writer has it.
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t header_bytes = text.size();

  // Renaming would put a file in the place of a device or a pipe, and fails late for a folder.
  std::error_code ignored;
  const std::filesystem::file_status there = std::filesystem::status(path_, ignored);
  if (std::filesystem::exists(there) && !std::filesystem::is_regular_file(there)) {
    throw api::invalid(path_ + ": cannot be written: wanted a regular file", "out");
  }
  file_.reset(std::fopen(temporary_path_.c_str(), "wbx"));
  if (file_ == nullptr) fail("cannot be made");
  write_bytes(&header_bytes, sizeof header_bytes);
  write_bytes(text.data(), text.size());
}

SafetensorsFile::~SafetensorsFile() {
  if (file_ != nullptr) {
    file_.reset();
    std::remove(temporary_path_.c_str());
  }
}

void SafetensorsFile::write(const float* values, size_t n_values) {
  if (n_values > n_values_left_) {
    throw api::Failure(OKAPI_INTERNAL, path_ + ": more values than the tensor has");
  }
  n_values_left_ -= n_values;
  write_bytes(values, n_values * sizeof(float));
}

void SafetensorsFile::finish() {
  if (n_values_left_ != 0)
    throw api::Failure(OKAPI_INTERNAL, path_ + ": the tensor is not complete");
  if (std::fflush(file_.get()) != 0 || fsync(fileno(file_.get())) != 0) fail("cannot be written");
  if (std::fclose(file_.release()) != 0 ||
      std::rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    const int why = errno;
    std::remove(temporary_path_.c_str());
    errno = why;
    fail("cannot be written");
  }
}

void SafetensorsFile::write_bytes(const void* bytes, size_t n_bytes) {
  if (std::fwrite(bytes, 1, n_bytes, file_.get()) != n_bytes) fail("cannot be written");
}

void SafetensorsFile::fail(const char* what) const {
  throw api::Failure(OKAPI_RESOURCE_EXHAUSTED, path_ + ": " + what + ": " + std::strerror(errno));
}

}  // namespace okapi::cli
