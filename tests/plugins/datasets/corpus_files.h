// Files as corpora come: packed, cut off, damaged.
#pragma once

#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "tests/support/lines_plugins.h"
#include "tests/support/temporary_folder.h"

namespace okapi::test {

inline std::string gzipped(std::string_view text) {
  z_stream stream{};
  constexpr int kGzip = 15 + 16;
  if (deflateInit2(&stream, 6, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("deflateInit2");
  }
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

inline std::string zstandard(std::string_view text) {
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3));
  return packed;
}

inline std::shared_ptr<const Dataset> open_dataset(const char* name, Json params) {
  if (!params.contains("spool")) params["spool"] = std::filesystem::temp_directory_path().string();
  return lines_host().dataset(name)->open(params, 1, nullptr);
}

inline Error error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "wanted an error";
  return {Code::ok, ""};
}

/// What opening a file's contents as a dataset says.
inline std::string message_of(const char* dataset, const TemporaryFolder& folder,
                              const std::string& name, std::string_view bytes,
                              Json params = Json::object()) {
  params["path"] = folder.write(name, bytes).string();
  return error_of([&] { open_dataset(dataset, params); }).full_message();
}

}  // namespace okapi::test
